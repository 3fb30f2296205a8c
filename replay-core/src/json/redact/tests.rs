use proptest::prelude::*;
use serde_json::json;

use super::{super::testing, *};

#[test]
fn keys_that_look_secret_are_known_in_any_spelling() {
    let redactor = Redactor::default();
    for key in [
        "password",
        "PASSWORD",
        "userPassword",
        "db_passwd",
        "secret",
        "client-secret",
        "clientSecrets",
        "token",
        "payment_token",
        "accessToken",
        "accesstoken",
        "api_key",
        "apiKey",
        "APIKey",
        "X-Api-Key",
        "apikey",
        "api.keys",
        "Authorization",
        "credential",
        "credentials",
        "private_key",
        "privateKeyPem",
        "AccessKeyId",
        "aws_secret_access_key",
        "card",
        "credit_card",
        "cardNumber",
        "cvv",
        "CVC2",
        "ssn",
        "customer_ssn",
        "pin",
        "PIN_code",
        "set-cookie",
        "dbpassword",
    ] {
        assert!(redactor.is_secret_key(key), "{key}");
    }
    for key in ["id", "order_id", "key", "keyboard", "shipping", "pinned", "discard", "spin", "author", "amount", "secretary", "s", "", "é"]
    {
        assert!(!redactor.is_secret_key(key), "{key}");
    }
}

#[test]
fn whatever_is_under_a_secret_key_is_replaced() {
    let value = json!({
        "id": 7, "card": {"number": "4111", "holder": "A"}, "tokens": ["a", "b"], "password": null,
        "items": [{"name": "x", "apiKey": 5}]
    });
    let expected = json!({
        "id": 7, "card": "[redacted]", "tokens": "[redacted]", "password": null,
        "items": [{"name": "x", "apiKey": "[redacted]"}]
    });
    assert_eq!(Redactor::default().redact(&value), expected);
    assert_eq!(Redactor::none().redact(&value), value);
}

#[test]
fn other_keys_and_places_can_be_named() {
    let at = |text| Pointer::parse(text).unwrap();
    let redactor = Redactor::default().with_key("patient_id").with_pointer(at("/a/1")).with_pointer(at("x.y"));
    let value = json!({"a": [1, 2, 3], "x": {"y": {"z": 1}, "PatientId": 5}, "b": {"x": {"y": 1}}});
    assert_eq!(
        redactor.redact(&value),
        json!({"a": [1, "[redacted]", 3], "x": {"y": "[redacted]", "PatientId": "[redacted]"}, "b": {"x": {"y": 1}}})
    );
    assert_eq!(Redactor::none().with_pointer(Pointer::root()).redact(&value), json!("[redacted]"));
    assert_eq!(redactor.redact_at(&at("/x"), &json!({"y": 1, "n": 2})), json!({"y": "[redacted]", "n": 2}));
    assert_eq!(redactor.redact_at(&at("/x/y/z"), &json!(1)), json!("[redacted]"));
    assert_eq!(redactor.redact_at(&at("/card/number"), &json!(1)), json!("[redacted]"));
    assert_eq!(redactor.redact_at(&at("/items/0"), &json!(1)), json!(1));
}

#[test]
fn the_deepest_value_fits_a_small_stack() {
    testing::on_small_stack(|| {
        for value in [testing::nested_objects(), testing::nested_arrays()] {
            assert!(super::super::tree::is_same(&Redactor::default().redact(&value), &value));
        }
    });
}

proptest! {
    #[test]
    fn a_secret_is_found_nowhere_in_the_result(document in testing::value(), tokens in proptest::collection::vec("[a-d]", 0..3)) {
        let place = tokens.into_iter().fold(Pointer::root(), |place, token| place.child(token));
        let mut document = document;
        let (secret, canary) = (place.child("userPassword"), json!({"deep": ["canary-4711"]}));
        if secret.set(&mut document, canary.clone()).is_err() {
            document = Value::Null;
            secret.set(&mut document, canary).unwrap();
        }
        prop_assert!(!Redactor::default().redact(&document).to_string().contains("canary"));
        prop_assert!(!Redactor::none().with_pointer(place).redact(&document).to_string().contains("canary"));
    }

    #[test]
    fn a_value_without_secrets_stays_as_it_is(value in testing::value()) {
        prop_assert_eq!(Redactor::none().with_key("zzz-never").redact(&value), value);
    }
}
