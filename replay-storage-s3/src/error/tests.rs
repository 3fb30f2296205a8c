use super::*;

fn refused(status: u16, code: &str) -> Failure {
    Failure::Refused { status, code: code.to_owned() }
}

#[test]
fn each_answer_has_its_kind_and_advice() {
    let expected = [
        (refused(403, "AccessDenied"), ErrorKind::PermissionDenied, Retry::Never),
        (refused(403, "SignatureDoesNotMatch"), ErrorKind::PermissionDenied, Retry::Never),
        (refused(403, "InvalidAccessKeyId"), ErrorKind::PermissionDenied, Retry::Never),
        (refused(403, "QuotaExceeded"), ErrorKind::StoreFull, Retry::Safe),
        (refused(404, "NoSuchBucket"), ErrorKind::Unavailable, Retry::Safe),
        (refused(301, "PermanentRedirect"), ErrorKind::Invalid, Retry::Never),
        (refused(503, "SlowDown"), ErrorKind::Unavailable, Retry::Safe),
        (refused(500, "InternalError"), ErrorKind::Unavailable, Retry::Ambiguous),
        (refused(507, ""), ErrorKind::StoreFull, Retry::Safe),
        (refused(501, "NotImplemented"), ErrorKind::Unsupported, Retry::Never),
        (Failure::Unreachable(Cause::Address), ErrorKind::Unavailable, Retry::Safe),
        (Failure::Unreachable(Cause::Tls), ErrorKind::Unavailable, Retry::Safe),
        (Failure::NoAnswer, ErrorKind::Unavailable, Retry::Ambiguous),
        (Failure::Timeout, ErrorKind::Timeout, Retry::Ambiguous),
        (Failure::NoCredentials, ErrorKind::PermissionDenied, Retry::Never),
    ];
    for (failure, kind, retry) in expected {
        let error = failure.error("append", true);
        assert_eq!((error.kind(), error.retry_advice()), (kind, retry), "{failure:?}");
        assert!(error.detail().is_some() && error.advice().is_some());
        assert_ne!(failure.error("load", false).retry_advice(), Retry::Ambiguous, "reading changes nothing: {failure:?}");
    }
}

#[test]
fn a_refused_condition_is_told_apart_from_other_refusals() {
    assert!(refused(412, "PreconditionFailed").is_condition());
    for code in ["ConditionalRequestConflict", "OperationAborted", ""] {
        let busy = refused(409, code);
        assert!(busy.is_conflict() && !busy.is_condition() && !busy.is_ambiguous(), "{code}");
        assert_eq!((busy.error("append", true).kind(), busy.error("append", true).retry_advice()), (ErrorKind::Unavailable, Retry::Safe));
    }
    for (status, code) in [(404, "NoSuchBucket"), (409, "BucketNotEmpty"), (403, "AccessDenied"), (503, "SlowDown"), (404, "NoSuchKey")] {
        let other = refused(status, code);
        assert!(!other.is_condition() && !other.is_conflict(), "{status} {code}");
    }
    assert!(refused(404, "NoSuchKey").is_missing() && !refused(404, "NoSuchBucket").is_missing());
}
