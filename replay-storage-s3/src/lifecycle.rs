//! The rules that a bucket should have.

use serde_json::json;

/// The configuration for objects whose keys begin with `prefix`.
pub(crate) fn configuration(prefix: &str) -> String {
    let rules = json!({
        "Rules": [
            {
                "ID": "replay: end uploads that were never finished",
                "Status": "Enabled",
                "Filter": { "Prefix": prefix },
                "AbortIncompleteMultipartUpload": { "DaysAfterInitiation": 7 },
            },
            {
                "ID": "replay: remove versions that were replaced",
                "Status": "Enabled",
                "Filter": { "Prefix": prefix },
                "NoncurrentVersionExpiration": { "NoncurrentDays": 30 },
                "Expiration": { "ExpiredObjectDeleteMarker": true },
            },
        ],
    });
    format!("{rules:#}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_concerns_the_prefix_and_never_removes_what_is_current() {
        let text = configuration("a\"b/");
        let rules: serde_json::Value = serde_json::from_str(&text).unwrap();
        for rule in rules["Rules"].as_array().unwrap() {
            assert_eq!(rule["Filter"]["Prefix"], "a\"b/");
            assert!(rule["Expiration"]["Days"].is_null() && rule["Expiration"]["Date"].is_null());
        }
    }
}
