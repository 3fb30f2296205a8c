//! Texts as columns keep them, and how they are found.

use replay_core::Digest;

/// An index on labels holds 2,704 bytes for each.
const LONGEST_LABEL: usize = 2_600;

/// Text that may hold U+0000, which a column of text cannot: a backslash becomes two, U+0000 a backslash and a zero.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\0', "\\0")
}

/// A label as an element of the column `labels`: as text, or, if an index could not hold that, by its digest.
pub(crate) fn label(key: &str, value: &str) -> String {
    let text = format!("{}={}", escaped(key).replace('=', "\\="), escaped(value));
    if text.len() <= LONGEST_LABEL {
        return text;
    }
    // No text has a backslash before this.
    format!("\\#{}", Digest::of(text.as_bytes()))
}

/// What begins with `prefix` is before this in byte order, and what comes after it is not; none if nothing comes after.
pub(crate) fn after_prefix(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        // The range steps over the surrogates, which are no characters.
        if let Some(next) = (last..=char::MAX).nth(1) {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_begins_with_a_prefix_ends_before_the_next_one() {
        assert_eq!(after_prefix("ab").as_deref(), Some("ac"));
        assert_eq!(after_prefix("a\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(after_prefix("\u{d7ff}").as_deref(), Some("\u{e000}"));
        assert_eq!(after_prefix("\u{10ffff}"), None);
        assert_eq!(after_prefix(""), None);
    }

    #[test]
    fn no_two_labels_share_a_text() {
        let labels = [("a", "b=c"), ("a=b", "c"), ("a\\", "b"), ("a", "\\b"), ("a\0", "b"), ("a\\0", "b"), ("", ""), ("", "="), ("=", "")];
        let mut texts: Vec<String> = labels.iter().map(|(key, value)| label(key, value)).collect();
        // What is too long for an index stands there by its digest.
        let long = "x".repeat(LONGEST_LABEL);
        texts.extend([label(&long, ""), label("", &long), label(&texts[0].replace("a=b=c", "\\#"), &long)]);
        assert_eq!(texts[0], "a=b=c");
        assert!(texts.iter().all(|text| !text.contains('\0')));
        texts.sort();
        texts.dedup();
        assert_eq!(texts.len(), labels.len() + 3);
        assert!(texts.iter().all(|text| text.len() <= LONGEST_LABEL));
    }
}
