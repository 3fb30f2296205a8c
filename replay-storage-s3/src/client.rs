//! Requests: what is asked of the server, how often it is asked again, and when the caller stops waiting.

use std::{fmt, time::Duration};

use aws_sdk_s3::{
    Client as Sdk,
    config::{Builder as SdkBuilder, retry::RetryConfig, timeout::TimeoutConfig},
    error::{ProvideErrorMetadata, SdkError},
    primitives::ByteStream,
    types::{CompletedMultipartUpload, CompletedPart, Delete, ObjectIdentifier, ServerSideEncryption, StorageClass},
};
use bytes::Bytes;
use futures::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture, stream};
use replay_core::{Clock, Error, Result, Retry, SystemClock};
use tokio::time::{Instant, timeout, timeout_at};

use crate::error::{Failure, deadline};

/// A request is sent so often before its outcome is reported as unknown.
const ATTEMPTS: u32 = 3;

/// A conditional write that finds another under way is sent so often.
const CONFLICTS: u32 = 6;

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

/// How a conditional write or removal ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome<T> {
    /// It was done.
    Done(T),
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
        timeout(limit, call).await.unwrap_or_else(|_| Err(deadline(operation, writes)))
    }

    /// What differs for a request that moves so many bytes and that the SDK repeats by itself.
    fn sized(&self, bytes: usize) -> SdkBuilder {
        let limit = self.allowed(bytes);
        let timeouts = TimeoutConfig::builder().operation_attempt_timeout(limit).operation_timeout(limit * ATTEMPTS);
        SdkBuilder::new().timeout_config(timeouts.build())
    }

    /// The object, or none.
    ///
    /// Each attempt has the time that the object's size allows, which is known once the answer has begun.
    pub(crate) async fn get(&self, operation: &'static str, key: &str) -> Result<Option<(Bytes, ETag)>> {
        let begun = Instant::now();
        let mut until = begun + self.allowed(0) * ATTEMPTS;
        let mut attempt = 1;
        loop {
            let begin = async {
                match self.sdk.get_object().bucket(&self.bucket).key(key).send().await {
                    Ok(answer) => Ok(Some(answer)),
                    Err(error) => match Failure::of(&error) {
                        failure if failure.is_missing() => Ok(None),
                        failure => Err(failed(operation, &failure, error, false)),
                    },
                }
            }
            .boxed();
            let begun_again = timeout_at(until, begin).await.unwrap_or_else(|_| Err(deadline(operation, false)));
            let Some(answer) = begun_again? else { return Ok(None) };
            let etag = answer.e_tag.unwrap_or_default();
            let limit = self.allowed(answer.content_length.and_then(|len| usize::try_from(len).ok()).unwrap_or(0));
            until = begun + limit * ATTEMPTS;
            // The SDK repeats only what fails before the body.
            let error = match timeout_at(until.min(Instant::now() + limit), answer.body.collect()).await {
                Ok(Ok(body)) => return Ok(Some((body.into_bytes(), etag))),
                Ok(Err(error)) => Failure::NoAnswer.error(operation, false).caused_by(error),
                Err(_) => deadline(operation, false),
            };
            attempt += 1;
            if attempt > ATTEMPTS {
                return Err(error);
            }
        }
    }

    /// Writes an object whose key says what is in it, so that writing it again does nothing.
    pub(crate) async fn put(&self, operation: &'static str, key: &str, bytes: Bytes) -> Result<()> {
        if bytes.len() >= MULTIPART_BYTES {
            return self.put_parts(operation, key, &bytes).boxed().await;
        }
        let len = bytes.len();
        let call = async {
            let put = self.put_request(key, bytes).customize().config_override(self.sized(len)).send().await;
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
            let _ = timeout(self.timeout, abort.send()).await;
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
                let answer = request.body(ByteStream::from(part)).customize().config_override(self.sized(len)).send().await;
                let answer = answer.map_err(|error| failed(operation, &Failure::of(&error), error, true))?;
                Ok(CompletedPart::builder().part_number(number).set_e_tag(answer.e_tag).build())
            }
            .boxed();
            self.within(operation, true, len, send)
        });
        let parts: Vec<CompletedPart> = stream::iter(parts).buffered(PARTS_AT_ONCE).try_collect().await?;
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let complete = self.sdk.complete_multipart_upload().bucket(&self.bucket).key(key).upload_id(upload).multipart_upload(parts);
        let complete = complete.customize().config_override(self.sized(bytes.len()));
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
    pub(crate) async fn put_if(&self, operation: &'static str, key: &str, bytes: Bytes, condition: Condition<'_>) -> Result<Outcome<ETag>> {
        let send = |once| {
            let request = self.put_request(key, bytes.clone());
            let request = match condition {
                Condition::Absent => request.if_none_match("*"),
                Condition::Is(etag) => request.if_match(etag),
            };
            async move { request.customize().config_override(once).send().await.map(|answer| answer.e_tag.unwrap_or_default()) }.boxed()
        };
        // What is to be replaced may be gone.
        let is_gone = |failure: &Failure| matches!(condition, Condition::Is(_)) && failure.is_key_unknown();
        self.once(operation, bytes.len(), send, is_gone).await.map_err(|(_, error)| error)
    }

    /// Makes a conditional request until its outcome is known; `is_refused` says what means the same as a condition that does not hold.
    ///
    /// The SDK must not repeat it: were the answer to one lost that won, the repetition would lose against it. Here the very same is
    /// sent again, and whoever finds the condition refused then looks at what is stored.
    async fn once<'a, T, E>(
        &self,
        operation: &'static str,
        bytes: usize,
        send: impl Fn(SdkBuilder) -> BoxFuture<'a, Result<T, SdkError<E>>> + Send + Sync,
        is_refused: impl Fn(&Failure) -> bool + Send + Sync,
    ) -> Result<Outcome<T>, (Failure, Error)>
    where
        T: Send,
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let limit = self.allowed(bytes);
        let call = async {
            let (mut was_ambiguous, mut attempts, mut conflicts) = (false, 0, 0);
            loop {
                let once = self.sized(bytes).retry_config(RetryConfig::disabled());
                let (failure, error) = match timeout(limit, send(once)).await {
                    Ok(Ok(done)) => return Ok(Outcome::Done(done)),
                    Ok(Err(error)) => {
                        let failure = Failure::of(&error);
                        if failure.is_condition() || is_refused(&failure) {
                            return Ok(if was_ambiguous { Outcome::Unclear } else { Outcome::Lost });
                        }
                        let error = failed(operation, &failure, error, true);
                        (failure, error)
                    }
                    Err(_) => (Failure::Timeout, deadline(operation, true)),
                };
                was_ambiguous |= failure.is_ambiguous();
                let is_worth_it = if failure.is_conflict() {
                    conflicts += 1;
                    conflicts < CONFLICTS
                } else {
                    attempts += 1;
                    failure.is_transient() && attempts < ATTEMPTS
                };
                if !is_worth_it {
                    return Err((failure, if was_ambiguous { error.retry(Retry::Ambiguous) } else { error }));
                }
                pause(attempts + conflicts).await;
            }
        }
        .boxed();
        timeout(limit * 2, call).await.unwrap_or_else(|_| Err((Failure::Timeout, deadline(operation, true))))
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

    /// Removes an object if it is still the one with this tag. Only for servers that honour the condition.
    pub(crate) async fn delete_if(&self, operation: &'static str, key: &str, etag: &str) -> Result<Outcome<()>> {
        self.delete_once(operation, key, etag).await.map_err(|(_, error)| error)
    }

    async fn delete_once(&self, operation: &'static str, key: &str, etag: &str) -> Result<Outcome<()>, (Failure, Error)> {
        let send = |once| {
            let request = self.sdk.delete_object().bucket(&self.bucket).key(key).if_match(etag);
            async move { request.customize().config_override(once).send().await.map(drop) }.boxed()
        };
        self.once(operation, 0, send, Failure::is_missing).await
    }

    /// Whether the server removes an object only if the condition holds, tried on an object of our own.
    pub(crate) async fn honours_delete_condition(&self, operation: &'static str, key: &str) -> Result<bool> {
        self.put(operation, key, Bytes::from_static(b"probe")).await?;
        let honours = match self.delete_once(operation, key, "\"0\"").await {
            Ok(outcome) => outcome == Outcome::Lost,
            // The server does not know the header.
            Err((Failure::Refused { status: 400 | 501, .. }, _)) => false,
            Err((_, error)) => return Err(error),
        };
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
    let millis = 50 << attempt.min(4);
    SystemClock.sleep(Duration::from_millis(fastrand::u64(millis / 2..=millis))).await;
}
