//! Requests: what is asked of the server, how often it is asked again, and when the caller stops waiting.

use std::{fmt, time::Duration};

use aws_sdk_s3::{
    Client as Sdk,
    config::{Builder as SdkBuilder, retry::RetryConfig},
    error::{ProvideErrorMetadata, SdkError},
    primitives::ByteStream,
    types::{CompletedMultipartUpload, CompletedPart, Delete, ObjectIdentifier, ServerSideEncryption, StorageClass},
};
use bytes::Bytes;
use futures::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture, stream};
use replay_core::{Clock, Error, ErrorKind, Result, Retry, SystemClock};

use crate::error::{Failure, deadline};

/// A conditional write is sent so often before its outcome is reported as unknown.
const ATTEMPTS: u32 = 3;

/// At most so many keys are deleted by one request.
pub(crate) const DELETED_AT_ONCE: usize = 1000;

/// An object of this size or more is uploaded in parts.
pub(crate) const MULTIPART_BYTES: usize = 16 << 20;

const PART_BYTES: usize = 8 << 20;
const PARTS_AT_ONCE: usize = 4;

/// What an object's version is known by.
pub(crate) type ETag = String;

/// How objects are written.
#[derive(Debug, Clone, Default)]
pub(crate) struct WriteOptions {
    pub(crate) storage_class: Option<StorageClass>,
    pub(crate) encryption: Option<ServerSideEncryption>,
    pub(crate) kms_key: Option<String>,
}

/// One bucket.
#[derive(Clone)]
pub(crate) struct Client {
    sdk: Sdk,
    bucket: String,
    options: WriteOptions,
    /// For one request and its answer.
    timeout: Duration,
}

/// What must hold for a write to be done.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Condition<'a> {
    /// There is no such object.
    Absent,
    /// The object is still this one.
    Is(&'a str),
}

/// How a conditional write ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Put {
    /// It was done.
    Done(ETag),
    /// It was not done.
    Lost,
    /// Its condition no longer holds, which an earlier attempt without answer may have done itself.
    Unclear,
}

/// An object in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) key: String,
    /// Some servers leave it out.
    pub(crate) etag: Option<ETag>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("bucket", &self.bucket).field("options", &self.options).finish_non_exhaustive()
    }
}

impl Client {
    pub(crate) fn new(sdk: Sdk, bucket: String, options: WriteOptions, timeout: Duration) -> Self {
        Self { sdk, bucket, options, timeout }
    }

    pub(crate) fn bucket(&self) -> &str {
        &self.bucket
    }

    /// How long one request may take that moves so many bytes: at least a megabyte a second is expected.
    fn allowed(&self, bytes: usize) -> Duration {
        self.timeout + Duration::from_millis(bytes as u64 / 1000)
    }

    /// Of a request that the SDK repeats by itself.
    async fn within<T>(&self, operation: &'static str, writes: bool, bytes: usize, call: BoxFuture<'_, Result<T>>) -> Result<T> {
        let limit = self.allowed(bytes) * ATTEMPTS;
        tokio::time::timeout(limit, call).await.unwrap_or_else(|_| Err(deadline(operation, writes)))
    }

    /// The object, or none.
    pub(crate) async fn get(&self, operation: &'static str, key: &str) -> Result<Option<(Bytes, ETag)>> {
        let call = async {
            let mut attempt = 1;
            loop {
                let failure = match self.sdk.get_object().bucket(&self.bucket).key(key).send().await {
                    Ok(answer) => {
                        let etag = answer.e_tag.clone().unwrap_or_default();
                        match answer.body.collect().await {
                            Ok(body) => return Ok(Some((body.into_bytes(), etag))),
                            // The body was cut off; the SDK repeats only what fails before.
                            Err(error) => (Failure::NoAnswer, Error::new(ErrorKind::Unavailable, operation).caused_by(error)),
                        }
                    }
                    Err(error) => match Failure::of(&error) {
                        failure if failure.is_missing() => return Ok(None),
                        failure => return Err(failed(operation, &failure, error, false)),
                    },
                };
                attempt += 1;
                if attempt > ATTEMPTS {
                    return Err(failure.1);
                }
            }
        }
        .boxed();
        self.within(operation, false, 0, call).await
    }

    /// Writes an object whose key says what is in it, so that writing it again does nothing.
    pub(crate) async fn put(&self, operation: &'static str, key: &str, bytes: Bytes) -> Result<()> {
        if bytes.len() >= MULTIPART_BYTES {
            return self.put_parts(operation, key, &bytes).boxed().await;
        }
        let len = bytes.len();
        let call = async {
            let put = self.put_request(key, bytes).send().await;
            put.map(drop).map_err(|error| failed(operation, &Failure::of(&error), error, true))
        }
        .boxed();
        self.within(operation, true, len, call).await
    }

    /// Uploads in parts; one that fails for good takes the others back.
    async fn put_parts(&self, operation: &'static str, key: &str, bytes: &Bytes) -> Result<()> {
        let create = self
            .sdk
            .create_multipart_upload()
            .bucket(&self.bucket)
            .key(key)
            .set_storage_class(self.options.storage_class.clone())
            .set_server_side_encryption(self.options.encryption.clone())
            .set_ssekms_key_id(self.options.kms_key.clone());
        let begin = async { create.send().await.map_err(|error| failed(operation, &Failure::of(&error), error, true)) }.boxed();
        let upload = self.within(operation, true, 0, begin).await?.upload_id.unwrap_or_default();
        let sent = self.send_parts(operation, key, &upload, bytes).await;
        if sent.is_err() {
            // Best effort: the lifecycle rule removes what stays.
            let abort = self.sdk.abort_multipart_upload().bucket(&self.bucket).key(key).upload_id(upload);
            let _ = tokio::time::timeout(self.timeout, abort.send()).await;
        }
        sent
    }

    async fn send_parts(&self, operation: &'static str, key: &str, upload: &str, bytes: &Bytes) -> Result<()> {
        let starts = (1..).zip((0..bytes.len()).step_by(PART_BYTES));
        let parts = starts.map(|(number, start)| {
            let part = bytes.slice(start..bytes.len().min(start + PART_BYTES));
            let len = part.len();
            let request = self.sdk.upload_part().bucket(&self.bucket).key(key).upload_id(upload).part_number(number);
            let send = async move {
                let answer = request.body(ByteStream::from(part)).send().await;
                let answer = answer.map_err(|error| failed(operation, &Failure::of(&error), error, true))?;
                Ok(CompletedPart::builder().part_number(number).set_e_tag(answer.e_tag).build())
            }
            .boxed();
            self.within(operation, true, len, send)
        });
        let parts: Vec<CompletedPart> = stream::iter(parts).buffered(PARTS_AT_ONCE).try_collect().await?;
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let complete = self.sdk.complete_multipart_upload().bucket(&self.bucket).key(key).upload_id(upload).multipart_upload(parts);
        let call = async { complete.send().await.map(drop).map_err(|error| failed(operation, &Failure::of(&error), error, true)) }.boxed();
        // The server may take its time to put them together.
        self.within(operation, true, bytes.len(), call).await
    }

    fn put_request(&self, key: &str, bytes: Bytes) -> aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder {
        self.sdk
            .put_object()
            .bucket(&self.bucket)
            .key(key)
            .body(ByteStream::from(bytes))
            .set_storage_class(self.options.storage_class.clone())
            .set_server_side_encryption(self.options.encryption.clone())
            .set_ssekms_key_id(self.options.kms_key.clone())
    }

    /// Writes an object if `condition` holds.
    ///
    /// The SDK must not repeat it: were the answer to a write lost that won, the repetition would lose against it. Here the very
    /// same bytes are sent again, and whoever finds the condition refused then looks at what is stored.
    pub(crate) async fn put_if(&self, operation: &'static str, key: &str, bytes: Bytes, condition: Condition<'_>) -> Result<Put> {
        let limit = self.allowed(bytes.len());
        let call = async {
            let mut was_ambiguous = false;
            let mut attempt = 1;
            loop {
                let request = self.put_request(key, bytes.clone());
                let request = match condition {
                    Condition::Absent => request.if_none_match("*"),
                    Condition::Is(etag) => request.if_match(etag),
                };
                let once = SdkBuilder::new().retry_config(RetryConfig::disabled());
                let sent = tokio::time::timeout(limit, request.customize().config_override(once).send()).await;
                let error = match sent {
                    Ok(Ok(answer)) => return Ok(Put::Done(answer.e_tag.unwrap_or_default())),
                    Ok(Err(error)) => {
                        let failure = Failure::of(&error);
                        if failure.is_condition() {
                            return Ok(if was_ambiguous { Put::Unclear } else { Put::Lost });
                        }
                        was_ambiguous |= failure.is_ambiguous();
                        let is_final = !failure.is_transient();
                        let error = failed(operation, &failure, error, true);
                        if is_final {
                            return Err(if was_ambiguous { error.retry(Retry::Ambiguous) } else { error });
                        }
                        error
                    }
                    Err(_) => {
                        was_ambiguous = true;
                        deadline(operation, true)
                    }
                };
                if attempt == ATTEMPTS {
                    return Err(if was_ambiguous { error.retry(Retry::Ambiguous) } else { error });
                }
                pause(attempt).await;
                attempt += 1;
            }
        }
        .boxed();
        tokio::time::timeout(limit * 2, call).await.unwrap_or_else(|_| Err(deadline(operation, true)))
    }

    /// The objects whose keys begin with `prefix`, by key, up to 1,000, from after the key `after`; and whether there are more.
    pub(crate) async fn list(&self, operation: &'static str, prefix: &str, after: Option<&str>) -> Result<(Vec<Listed>, bool)> {
        let call = async {
            let request = self.sdk.list_objects_v2().bucket(&self.bucket).prefix(prefix).set_start_after(after.map(str::to_owned));
            let answer = request.send().await.map_err(|error| failed(operation, &Failure::of(&error), error, false))?;
            let is_cut = answer.is_truncated.unwrap_or(false);
            let object = |object: aws_sdk_s3::types::Object| Some(Listed { key: object.key?, etag: object.e_tag });
            Ok((answer.contents.unwrap_or_default().into_iter().filter_map(object).collect(), is_cut))
        }
        .boxed();
        self.within(operation, false, 0, call).await
    }

    /// All objects whose keys begin with `prefix`.
    pub(crate) async fn list_all(&self, operation: &'static str, prefix: &str) -> Result<Vec<Listed>> {
        let mut all = Vec::new();
        loop {
            let (page, more) = self.list(operation, prefix, all.last().map(|last: &Listed| last.key.as_str())).await?;
            let is_end = !more || page.is_empty();
            all.extend(page);
            if is_end {
                return Ok(all);
            }
        }
    }

    /// Removes objects; those that are not there count as removed.
    pub(crate) async fn delete(&self, operation: &'static str, keys: &[String]) -> Result<()> {
        for keys in keys.chunks(DELETED_AT_ONCE) {
            self.within(operation, true, 0, self.delete_some(operation, keys).boxed()).await?;
        }
        Ok(())
    }

    async fn delete_some(&self, operation: &'static str, keys: &[String]) -> Result<()> {
        if let [key] = keys {
            let sent = self.sdk.delete_object().bucket(&self.bucket).key(key).send().await;
            return match sent {
                Ok(_) => Ok(()),
                Err(error) => match Failure::of(&error) {
                    failure if failure.is_missing() => Ok(()),
                    failure => Err(failed(operation, &failure, error, true)),
                },
            };
        }
        let malformed = |error| Failure::Malformed.error(operation, true).caused_by(error);
        let object = |key: &String| ObjectIdentifier::builder().key(key).build().map_err(malformed);
        let objects = keys.iter().map(object).collect::<Result<Vec<_>>>()?;
        let delete = Delete::builder().quiet(true).set_objects(Some(objects)).build().map_err(malformed)?;
        let sent = self.sdk.delete_objects().bucket(&self.bucket).delete(delete).send().await;
        let answer = sent.map_err(|error| failed(operation, &Failure::of(&error), error, true))?;
        let refused = answer.errors().iter().find(|error| error.code() != Some("NoSuchKey"));
        refused.map_or(Ok(()), |error| {
            let failure = Failure::Refused { status: 403, code: error.code().unwrap_or_default().to_owned() };
            Err(failure.error(operation, true))
        })
    }

    /// Removes an object if it is still the one with this tag, and says whether it did. Only for servers that honour the condition.
    pub(crate) async fn delete_if(&self, operation: &'static str, key: &str, etag: &str) -> Result<bool> {
        let call = async {
            match self.sdk.delete_object().bucket(&self.bucket).key(key).if_match(etag).send().await {
                Ok(_) => Ok(true),
                Err(error) => match Failure::of(&error) {
                    failure if failure.is_condition() || failure.is_missing() => Ok(false),
                    failure => Err(failed(operation, &failure, error, true)),
                },
            }
        }
        .boxed();
        self.within(operation, true, 0, call).await
    }

    /// Whether the server removes an object only if the condition holds, tried on an object of our own.
    pub(crate) async fn honours_delete_condition(&self, operation: &'static str, key: &str) -> Result<bool> {
        self.put(operation, key, Bytes::from_static(b"probe")).await?;
        let call = async {
            match self.sdk.delete_object().bucket(&self.bucket).key(key).if_match("\"0\"").send().await {
                Ok(_) => Ok(false),
                Err(error) => match Failure::of(&error) {
                    failure if failure.is_condition() => Ok(true),
                    // The server does not know the header.
                    Failure::Refused { status: 400 | 501, .. } => Ok(false),
                    failure => Err(failed(operation, &failure, error, true)),
                },
            }
        }
        .boxed();
        let honours = self.within(operation, true, 0, call).await?;
        self.delete(operation, &[key.to_owned()]).await?;
        Ok(honours)
    }

    /// Whether there is an object.
    pub(crate) async fn exists(&self, operation: &'static str, key: &str) -> Result<bool> {
        let call = async {
            match self.sdk.head_object().bucket(&self.bucket).key(key).send().await {
                Ok(_) => Ok(true),
                Err(error) => match Failure::of(&error) {
                    failure if failure.is_missing() => Ok(false),
                    failure => Err(failed(operation, &failure, error, false)),
                },
            }
        }
        .boxed();
        self.within(operation, false, 0, call).await
    }
}

/// The error for a failed request. The answer's text stays in the source: it may hold what the error's own line must not.
fn failed<E>(operation: &'static str, failure: &Failure, error: SdkError<E>, writes: bool) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    failure.error(operation, writes).caused_by(error)
}

/// Waits a little longer each time, with jitter, so that those who were refused together do not come back together.
async fn pause(attempt: u32) {
    let millis = 50 << attempt;
    SystemClock.sleep(Duration::from_millis(fastrand::u64(millis / 2..=millis))).await;
}
