//! What the server or the way to it answered, as errors with advice. Codes decide; texts are never read.

use std::error::Error as StdError;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use replay_core::{Error, ErrorKind, Retry};

/// The answer that matters of a failed request, without the driver's types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The server refused: the HTTP status and the error code, if it gave one.
    Refused { status: u16, code: String },
    /// No connection: nothing was sent.
    Unreachable(Cause),
    /// The request may have arrived; the answer did not.
    NoAnswer,
    /// The time ran out.
    Timeout,
    /// There are no credentials, or they cannot be had.
    NoCredentials,
    /// The request could not be made.
    Malformed,
}

/// Why there was no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Nobody listens there, or the name is not known.
    Address,
    /// TLS: an untrusted certificate, or one side speaks plain text.
    Tls,
    /// It took too long.
    Slow,
}

impl Failure {
    pub(crate) fn of<E: ProvideErrorMetadata>(failure: &SdkError<E>) -> Self
    where
        SdkError<E>: StdError + 'static,
    {
        match failure {
            SdkError::ServiceError(service) => {
                Self::Refused { status: service.raw().status().as_u16(), code: service.err().code().unwrap_or_default().to_owned() }
            }
            SdkError::ResponseError(response) => match response.raw().status().as_u16() {
                // A success that was cut off, or that this version of the driver cannot read.
                200..300 => Self::NoAnswer,
                status => Self::Refused { status, code: String::new() },
            },
            SdkError::TimeoutError(_) => Self::Timeout,
            SdkError::DispatchFailure(dispatch) => dispatch.as_connector_error().map_or(Self::NoAnswer, |error| {
                let way = Way::of(error);
                match way.cause {
                    _ if error.is_user() => Self::Malformed,
                    Some(_) if error.is_timeout() => Self::Unreachable(Cause::Slow),
                    Some(cause) => Self::Unreachable(cause),
                    // Only what came before any request is known to have sent nothing.
                    None if error.is_timeout() => Self::Timeout,
                    None if error.is_other() && error.as_other().is_none() && !way.was_sent => Self::NoCredentials,
                    None => Self::NoAnswer,
                }
            }),
            _ => Self::Malformed,
        }
    }

    /// Whether the request may have been carried out.
    pub(crate) fn is_ambiguous(&self) -> bool {
        match self {
            Self::NoAnswer | Self::Timeout => true,
            // These say that the server does not know, or that what stands before it does not.
            Self::Refused { status, .. } => matches!(status, 500 | 502 | 504),
            _ => false,
        }
    }

    /// Whether the same request may well succeed in a moment.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::NoAnswer | Self::Timeout => true,
            Self::Refused { status, code } => {
                matches!(status, 429 | 500 | 502 | 503 | 504) || matches!(code.as_str(), "RequestTimeout" | "RequestTimeTooSkewed")
            }
            _ => false,
        }
    }

    /// Whether a conditional write was refused by its condition: another was first.
    pub(crate) fn is_condition(&self) -> bool {
        matches!(self, Self::Refused { status: 412, .. })
    }

    /// Whether another write to the same key was under way, so that this one was not even tried.
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused { status: 409, code } if matches!(code.as_str(), "ConditionalRequestConflict" | "OperationAborted" | ""))
    }

    /// Whether the server says by name that there is no such object.
    pub(crate) fn is_key_unknown(&self) -> bool {
        matches!(self, Self::Refused { status: 404, code } if code == "NoSuchKey")
    }

    /// Whether there is no such object.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Self::Refused { status: 404, code } if matches!(code.as_str(), "NoSuchKey" | "NotFound" | ""))
    }

    /// The error for a failure of `operation`, which wrote or only read.
    pub(crate) fn error(&self, operation: &'static str, writes: bool) -> Error {
        let (kind, message, hint) = self.describe();
        let mut error = Error::new(kind, operation).message(message).hint(hint);
        if let Self::Refused { status, code } = self {
            error = error.with("status", status);
            if !code.is_empty() {
                error = error.with("code", code);
            }
        }
        let retry = match kind {
            _ if writes && self.is_ambiguous() => Retry::Ambiguous,
            ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::StoreFull => Retry::Safe,
            _ => Retry::Never,
        };
        error.retry(retry)
    }

    fn describe(&self) -> (ErrorKind, &'static str, &'static str) {
        use ErrorKind::{Internal, PermissionDenied, Timeout, Unavailable};
        match self {
            Self::Refused { status, code } => describe(*status, code),
            Self::Unreachable(Cause::Address) => {
                (Unavailable, "the server cannot be reached", "check `endpoint` (scheme, host, port), and that the server runs")
            }
            Self::Unreachable(Cause::Tls) => (
                Unavailable,
                "no TLS connection could be made",
                "check that `endpoint` begins with https:// only if the server speaks TLS, and name its authority's certificate with `ca`",
            ),
            Self::Unreachable(Cause::Slow) => (
                Unavailable,
                "the server did not accept a connection in time",
                "check `endpoint` and firewalls, or allow more with `connect_timeout_ms`",
            ),
            Self::NoAnswer => (Unavailable, "the connection was lost before the answer came", "repeat the call"),
            Self::Timeout => (Timeout, "the server did not answer in time", "repeat the call, or allow more time with `timeout_ms`"),
            Self::NoCredentials => (
                PermissionDenied,
                "no credentials were found",
                "put KEY:SECRET@ in front of the bucket, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or a role",
            ),
            Self::Malformed => (Internal, "the request could not be made", "check the options of the store's URL"),
        }
    }
}

/// How far a request got.
struct Way {
    /// Why there was no connection; none if there may have been one.
    cause: Option<Cause>,
    /// Whether it was handed to a connection.
    was_sent: bool,
}

impl Way {
    fn of(error: &(dyn StdError + 'static)) -> Self {
        let (mut way, mut next) = (Self { cause: None, was_sent: false }, Some(error));
        while let Some(error) = next {
            next = error.source();
            if let Some(client) = error.downcast_ref::<hyper_util::client::legacy::Error>() {
                way.was_sent |= !client.is_connect();
                way.cause = way.cause.or(client.is_connect().then_some(Cause::Address));
            }
            let Some(kind) = error.downcast_ref::<std::io::Error>().map(innermost) else { continue };
            // While connecting, TLS speaks of data that makes no sense, or of an end where there should be some.
            if matches!(kind, std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof) && way.cause.is_some() {
                way.cause = Some(Cause::Tls);
            }
        }
        way
    }
}

/// The kind of the error that others of this type are wrapped around, which is not among their sources.
fn innermost(mut error: &std::io::Error) -> std::io::ErrorKind {
    while let Some(inner) = error.get_ref().and_then(|inner| inner.downcast_ref::<std::io::Error>()) {
        error = inner;
    }
    error.kind()
}

const BUSY: (&str, &str) = ("others write to the same object all the time", "repeat the call in a moment");

fn describe(status: u16, code: &str) -> (ErrorKind, &'static str, &'static str) {
    use ErrorKind::{Internal, Invalid, LimitExceeded, PermissionDenied, StoreFull, Unavailable, Unsupported};
    match code {
        "NoSuchBucket" => return (Unavailable, "there is no such bucket", "check the bucket's name and `region`, or create it"),
        "InvalidAccessKeyId" => {
            return (PermissionDenied, "the access key is not known to the server", "check the key in the URL or the environment");
        }
        "SignatureDoesNotMatch" => {
            return (
                PermissionDenied,
                "the secret key is wrong",
                "check the secret; in a URL `/`, `+` and `@` are written %2F, %2B and %40",
            );
        }
        "ExpiredToken" | "TokenRefreshRequired" | "InvalidToken" => {
            return (PermissionDenied, "the session token has expired or is not valid", "get new credentials");
        }
        "RequestTimeTooSkewed" => {
            return (PermissionDenied, "this machine's clock is wrong", "set the clock; the server allows 15 minutes");
        }
        "AuthorizationHeaderMalformed" | "PermanentRedirect" | "IllegalLocationConstraintException" => {
            return (Invalid, "the bucket is in another region", "set `region` to the bucket's");
        }
        "EntityTooLarge" | "MaxMessageLengthExceeded" => {
            return (LimitExceeded, "the object is larger than the server takes", "keep large parts of the context in blobs");
        }
        "QuotaExceeded" | "XMinioStorageFull" | "InsufficientCapacity" => {
            return (
                StoreFull,
                "the server has no room left, or the bucket's quota is used up",
                "free some space; the store goes on by itself",
            );
        }
        "ConditionalRequestConflict" | "OperationAborted" => return (Unavailable, BUSY.0, BUSY.1),
        "InvalidStorageClass" => return (Invalid, "the server does not know the storage class", "check `storage_class`"),
        "KMS.NotFoundException" | "KMS.DisabledException" | "KMSDisabledException" | "KMSNotFoundException" => {
            return (PermissionDenied, "the encryption key cannot be used", "check `kms_key`, its state and its policy");
        }
        _ => {}
    }
    match status {
        301 | 307 => (Invalid, "the bucket is in another region", "set `region` to the bucket's"),
        401 | 403 => (
            PermissionDenied,
            "the server refused access",
            "check the access key and its secret; it needs s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket on the bucket, and the \
             use of the encryption key",
        ),
        404 => (Unavailable, "the bucket or the object is not there", "check the bucket's name and `endpoint`"),
        409 if code.is_empty() => (Unavailable, BUSY.0, BUSY.1),
        405 | 501 => {
            (Unsupported, "the server does not offer what the store needs", "use a server with conditional writes; see the crate page")
        }
        507 => (StoreFull, "the server has no room left", "free some space; the store goes on by itself"),
        429 | 503 => (Unavailable, "the server asks for fewer requests", "wait a moment, then repeat the call"),
        500..600 => (Unavailable, "the server failed", "repeat the call; look at the server's logs if it goes on"),
        400 => (Invalid, "the server did not understand the request", "check the options of the store's URL"),
        _ => (Internal, "the server answered in an unexpected way", "check `endpoint`; is it an S3 server?"),
    }
}

/// The error for a call that did not end in time.
pub(crate) fn deadline(operation: &'static str, writes: bool) -> Error {
    Failure::Timeout.error(operation, writes)
}

#[cfg(test)]
mod tests;
