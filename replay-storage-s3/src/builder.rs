//! How a store is opened.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use aws_config::{BehaviorVersion, timeout::TimeoutConfig};
use aws_sdk_s3::{
    Client as Sdk,
    config::{Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation, retry::RetryConfig},
    types::{ServerSideEncryption, StorageClass},
};
use aws_smithy_http_client::{
    Builder as HttpClient,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};
use replay_core::{Clock, Error, ErrorKind, Namespace, Result, Retry, SystemClock, storage::StoreUrl};

use crate::{
    client::{Client, Condition, Outcome, WriteOptions},
    head::token,
    key::hex,
    store::{S3, Shared},
};

const OPERATION: &str = "open store";

/// Leaves room for what the store appends within the 1,024 bytes of a key.
const LONGEST_PREFIX: usize = 512;

/// How the server encrypts what is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Encryption {
    /// With keys that the service keeps (SSE-S3).
    S3,
    /// With a key of the key management service (SSE-KMS): its id or ARN; none = the account's default key.
    Kms(Option<String>),
}

/// Opens an [`S3`] store; made by [`S3::builder`].
#[derive(Clone)]
#[must_use]
pub struct S3Builder {
    bucket: String,
    prefix: String,
    namespace: Namespace,
    clock: Arc<dyn Clock>,
    region: Option<String>,
    endpoint: Option<String>,
    path_style: bool,
    credentials: Option<(String, String)>,
    storage_class: Option<String>,
    encryption: Option<Encryption>,
    ca: Option<PathBuf>,
    timeout: Duration,
    connect_timeout: Duration,
    create: bool,
}

impl fmt::Debug for S3Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Builder")
            .field("bucket", &self.bucket)
            .field("prefix", &self.prefix)
            .field("namespace", &self.namespace)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

impl S3Builder {
    pub(crate) fn new(bucket: String) -> Self {
        Self {
            bucket,
            prefix: String::new(),
            namespace: Namespace::default(),
            clock: Arc::new(SystemClock),
            region: None,
            endpoint: None,
            path_style: false,
            credentials: None,
            storage_class: None,
            encryption: None,
            ca: None,
            timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(3),
            create: true,
        }
    }

    pub(crate) fn from_url(mut url: StoreUrl) -> Result<Self> {
        if url.scheme() != "s3" {
            return Err(Error::invalid(OPERATION, format!("`{}` is not the scheme of an S3 store", url.scheme()))
                .hint("write s3://bucket/prefix?region=eu-central-1"));
        }
        let rest = url.rest().trim_start_matches('/').to_owned();
        let (user, place) = rest.rsplit_once('@').map_or((None, &rest[..]), |(user, place)| (Some(user), place));
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        let mut builder = Self::new(decoded(bucket)?).prefix(decoded(prefix)?).namespace(url.take_namespace()?);
        if let Some(user) = user {
            let (key, secret) = user.split_once(':').ok_or_else(|| {
                Error::invalid(OPERATION, "there is a key without a secret").hint("write s3://KEY:SECRET@bucket, or leave both out")
            })?;
            builder = builder.credentials(decoded(key)?, decoded(secret)?);
        }
        builder.region = url.take("region");
        builder.endpoint = url.take("endpoint");
        builder.path_style = flag(&mut url, "path_style")?;
        builder.storage_class = url.take("storage_class");
        let (sse, key) = (url.take("sse"), url.take("kms_key"));
        builder.encryption = match (sse.as_deref(), key) {
            (None, None) => None,
            (Some("s3"), None) => Some(Encryption::S3),
            (Some("kms") | None, key) => Some(Encryption::Kms(key)),
            (Some("s3"), Some(_)) => return Err(Error::invalid(OPERATION, "`kms_key` needs `sse=kms`")),
            (Some(other), _) => {
                return Err(Error::invalid(OPERATION, format!("`{other}` is no encryption")).hint("write sse=s3 or sse=kms"));
            }
        };
        builder.ca = url.take("ca").map(PathBuf::from);
        if let Some(timeout) = millis(&mut url, "timeout_ms")? {
            builder.timeout = timeout;
        }
        if let Some(timeout) = millis(&mut url, "connect_timeout_ms")? {
            builder.connect_timeout = timeout;
        }
        builder.create = !url.must_exist() && url.take("create").map_or(Ok(true), |word| boolean("create", &word))?;
        url.finish()?;
        Ok(builder)
    }

    /// Sets what the keys of all objects begin with, up to 512 bytes; by default nothing.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets the namespace; by default `default`.
    pub fn namespace(mut self, namespace: Namespace) -> Self {
        self.namespace = namespace;
        self
    }

    /// Sets the clock that cells expire by; by default the system's.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the region; by default the environment's or the profile's, else `us-east-1`.
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.region = Some(region.into());
        self
    }

    /// Sets the server's URL, as in `http://127.0.0.1:9000`; by default that of AWS in the region.
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoint = Some(endpoint.into());
        self
    }

    /// Sets whether the bucket stands in the path and not in the host's name, as most servers but AWS want it; by default not.
    pub fn path_style(mut self, path_style: bool) -> Self {
        self.path_style = path_style;
        self
    }

    /// Sets key and secret; by default those of the environment, a profile or a role.
    pub fn credentials(mut self, key: impl Into<String>, secret: impl Into<String>) -> Self {
        self.credentials = Some((key.into(), secret.into()));
        self
    }

    /// Sets the storage class of what is written, as in `STANDARD_IA`; by default the bucket's.
    pub fn storage_class(mut self, class: impl Into<String>) -> Self {
        self.storage_class = Some(class.into());
        self
    }

    /// Sets how the server encrypts what is written; by default as the bucket says.
    pub fn encryption(mut self, encryption: Encryption) -> Self {
        self.encryption = Some(encryption);
        self
    }

    /// Sets a file with certificates (PEM) that the server's certificate is checked against, instead of the system's.
    pub fn ca(mut self, file: impl Into<PathBuf>) -> Self {
        self.ca = Some(file.into());
        self
    }

    /// Sets how long one request may take, plus a second for each megabyte that it moves; by default 10 s. A call makes up to three
    /// attempts before it gives up.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets how long the server may take to accept a connection; by default 3 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets whether a prefix that holds nothing yet becomes a store; by default it does.
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// Opens the store, and sees that the server honours conditional writes: two requests.
    ///
    /// # Errors
    /// - `Invalid` for an empty bucket, a prefix that is too long, a certificate that cannot be read, or another region.
    /// - `Unsupported` if the server ignores conditions: on such a server two runners could both append.
    /// - `PermissionDenied`, `Unavailable`, `Timeout`: the hint says what to check.
    pub async fn open(self) -> Result<S3> {
        if self.bucket.is_empty() {
            return Err(Error::invalid(OPERATION, "there is no bucket").hint("write s3://bucket/prefix"));
        }
        if self.prefix.len() > LONGEST_PREFIX {
            return Err(Error::invalid(OPERATION, "the prefix is longer than 512 bytes").with("bytes", self.prefix.len()));
        }
        let prefix = self.key_prefix();
        let options = WriteOptions {
            storage_class: self.storage_class.as_deref().map(StorageClass::from),
            encryption: self.encryption.as_ref().map(|encryption| match encryption {
                Encryption::S3 => ServerSideEncryption::Aes256,
                Encryption::Kms(_) => ServerSideEncryption::AwsKms,
            }),
            kms_key: match &self.encryption {
                Some(Encryption::Kms(key)) => key.clone(),
                _ => None,
            },
        };
        let client = Client::new(self.sdk().await?, self.bucket, options, self.timeout);
        let mark = format!("{prefix}replay-store");
        if !self.create && !client.exists(OPERATION, &mark).await? {
            return Err(Error::new(ErrorKind::Unavailable, OPERATION)
                .message("there is no store in the bucket under this prefix")
                .hint("check bucket and prefix, or let the store be made")
                .with("bucket", client.bucket())
                .with("prefix", &prefix)
                .retry(Retry::Never)
                .no_store());
        }
        probe(&client, &mark).await?;
        Ok(S3::from_shared(Shared::new(client, &prefix, self.namespace, self.clock)))
    }

    /// What the keys of all objects begin with: nothing, or something that ends with a slash.
    pub(crate) fn key_prefix(&self) -> String {
        match self.prefix.trim_matches('/') {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        }
    }

    async fn sdk(&self) -> Result<Sdk> {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(self.connect_timeout)
            .operation_attempt_timeout(self.timeout)
            .operation_timeout(self.timeout * 3);
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .timeout_config(timeouts.build())
            .retry_config(RetryConfig::standard().with_max_attempts(3))
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        if let Some(region) = &self.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some((key, secret)) = &self.credentials {
            loader = loader.credentials_provider(Credentials::new(key, secret, None, None, "replay store"));
        }
        if let Some(endpoint) = &self.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        let tls = HttpClient::new().tls_provider(Provider::Rustls(CryptoMode::AwsLc));
        if let Some(ca) = &self.ca {
            let unreadable = |message: &str| Error::invalid(OPERATION, message).hint("check the option `ca`").with("file", ca.display());
            let pem = tokio::fs::read(ca).await.map_err(|e| unreadable("the file with certificates cannot be read").caused_by(e))?;
            if !pem.windows(BEGIN.len()).any(|window| window == BEGIN) {
                return Err(unreadable("the file holds no certificate in PEM form"));
            }
            let trust = TrustStore::empty().with_pem_certificate(pem);
            let context = TlsContext::builder().with_trust_store(trust).build();
            let context = context.map_err(|e| unreadable("the file holds no certificate in PEM form").caused_by(e))?;
            loader = loader.http_client(tls.tls_context(context).build_https());
        }
        let config = loader.load().await;
        let is_plain = |url: &str| url.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://"));
        if self.ca.is_some() && config.endpoint_url().is_some_and(is_plain) {
            return Err(Error::invalid(OPERATION, "`ca` is set, but the endpoint is plain http, where no certificate is checked")
                .hint("write https:// in `endpoint`, or leave `ca` out"));
        }
        let mut builder = aws_sdk_s3::config::Builder::from(&config).force_path_style(self.path_style);
        if config.region().is_none() {
            builder = builder.region(Region::from_static("us-east-1"));
        }
        Ok(Sdk::from_conf(builder.build()))
    }
}

const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// Sees that the server honours conditions, by requests that change nothing once there is a store.
async fn probe(client: &Client, key: &str) -> Result<()> {
    let mark = bytes::Bytes::from_static(b"A store of replay begins here. Every handle that is opened tries conditions on this object.\n");
    let first = client.put_if(OPERATION, key, mark.clone(), Condition::Absent).await?;
    // Created just now, or the condition was ignored: only a second attempt tells.
    let ignores_absent = matches!(first, Outcome::Done(_))
        && matches!(client.put_if(OPERATION, key, mark.clone(), Condition::Absent).await?, Outcome::Done(_));
    let other = format!("\"{}\"", hex(&token()));
    if ignores_absent || matches!(client.put_if(OPERATION, key, mark, Condition::Is(&other)).await?, Outcome::Done(_)) {
        return Err(Error::new(ErrorKind::Unsupported, OPERATION)
            .message("the server ignores the conditions of writes, so two runners could both append")
            .hint("use AWS S3 or a server that honours If-Match and If-None-Match; see the crate page")
            .with("condition", if ignores_absent { "If-None-Match" } else { "If-Match" }));
    }
    Ok(())
}

fn flag(url: &mut StoreUrl, key: &'static str) -> Result<bool> {
    url.take(key).map_or(Ok(false), |word| boolean(key, &word))
}

fn boolean(key: &'static str, word: &str) -> Result<bool> {
    word.parse().map_err(|_| Error::invalid(OPERATION, format!("`{word}` is neither true nor false")).with("option", key))
}

fn millis(url: &mut StoreUrl, key: &'static str) -> Result<Option<Duration>> {
    let Some(text) = url.take(key) else { return Ok(None) };
    match text.parse() {
        Ok(millis) if millis > 0 => Ok(Some(Duration::from_millis(millis))),
        _ => Err(Error::invalid(OPERATION, format!("`{text}` is not a number of milliseconds")).with("option", key)),
    }
}

/// Decodes `%XX`.
fn decoded(text: &str) -> Result<String> {
    let wrong = || Error::invalid(OPERATION, "a `%` in the URL is not followed by two hexadecimal digits").hint("write %25 for a `%`");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok()).ok_or_else(wrong);
    while let [first, tail @ ..] = rest {
        let (byte, after) = match (first, tail) {
            (b'%', [high, low, after @ ..]) => (digit(high)? << 4 | digit(low)?, after),
            (b'%', _) => return Err(wrong()),
            (byte, after) => (*byte, after),
        };
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8(bytes).map_err(|_| Error::invalid(OPERATION, "the URL is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builder(text: &str) -> Result<S3Builder> {
        S3Builder::from_url(StoreUrl::parse(text).unwrap())
    }

    #[test]
    fn a_url_says_everything_that_the_builder_can() {
        let builder = builder(
            "s3://KEY:a%2Fb%2B@bucket/pre%20fix/x?region=eu-west-1&endpoint=http://127.0.0.1:9000&path_style=true&storage_class=STANDARD_IA\
             &kms_key=k&ca=/ca.pem&timeout_ms=500&connect_timeout_ms=100&namespace=eu",
        )
        .unwrap();
        assert_eq!((builder.bucket.as_str(), builder.prefix.as_str()), ("bucket", "pre fix/x"));
        assert_eq!(builder.credentials, Some(("KEY".to_owned(), "a/b+".to_owned())));
        assert_eq!((builder.region.as_deref(), builder.endpoint.as_deref()), (Some("eu-west-1"), Some("http://127.0.0.1:9000")));
        assert_eq!(builder.encryption, Some(Encryption::Kms(Some("k".to_owned()))));
        assert_eq!((builder.timeout, builder.connect_timeout), (Duration::from_millis(500), Duration::from_millis(100)));
        assert!(builder.path_style && builder.namespace.as_str() == "eu" && builder.ca.is_some() && builder.storage_class.is_some());
    }

    #[test]
    fn what_is_wrong_in_a_url_is_refused_by_name() {
        for wrong in [
            "s3://KEY@b",
            "s3://b?sse=x",
            "s3://b?sse=s3&kms_key=k",
            "s3://b?path_style=yes",
            "s3://b?timeout_ms=0",
            "s3://b/%zz",
            "s3://b?x=1",
        ] {
            assert_eq!(builder(wrong).unwrap_err().kind(), ErrorKind::Invalid, "{wrong}");
        }
        assert!(builder("s3://b?regoin=x").unwrap_err().advice().unwrap().contains("did you mean `region`"));
    }

    #[test]
    fn no_secret_is_shown() {
        let shown = format!("{:?}", builder("s3://KEY:hunter2@bucket").unwrap());
        assert!(!shown.contains("hunter2") && !shown.contains("KEY"), "{shown}");
    }
}
