//! How a store is opened.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use redis::{
    Client, ClientTlsConfig, RedisError, TlsCertificates, TlsMode,
    cluster::ClusterClientBuilder,
    sentinel::{SentinelClientBuilder, SentinelServerType},
};
use replay_core::{Clock, Error, ErrorKind, Namespace, Result, SystemClock, storage::StoreUrl};
use tokio::sync::Mutex;

use crate::{
    address::{Address, Topology, tcp},
    error::{Effect, Failure, Stage},
    keys::{Keys, Kind, Shard},
    link::{Link, Target, Timeouts},
    store::{Redis, Shared},
};

const OPERATION: &str = "open store";

/// What the driver of a cluster tries again by itself, beside what the store does: a slot that has moved, a node that is gone.
const CLUSTER_RETRIES: u32 = 6;

/// Opens a [`Redis`] store; made by [`Redis::builder`].
#[derive(Clone)]
#[must_use]
pub struct RedisBuilder {
    address: Address,
    namespace: Namespace,
    prefix: String,
    timeouts: Timeouts,
    default_ttl: Option<Duration>,
    wait_replicas: u32,
    ca: Option<PathBuf>,
    certificate: Option<(PathBuf, PathBuf)>,
    sentinel_credentials: (Option<String>, Option<String>),
    clock: Arc<dyn Clock>,
}

impl RedisBuilder {
    pub(crate) fn from_url(mut url: StoreUrl) -> Result<Self> {
        let mut builder = Self {
            address: Address::parse(&url)?,
            namespace: url.take_namespace()?,
            prefix: url.take("prefix").unwrap_or_else(|| "replay".to_owned()),
            timeouts: Timeouts { connect: Duration::from_secs(2), response: Duration::from_secs(5), retry: Duration::from_secs(2) },
            default_ttl: None,
            wait_replicas: 0,
            ca: url.take("ca").map(PathBuf::from),
            certificate: None,
            sentinel_credentials: (url.take("sentinel_user"), url.take("sentinel_password")),
            clock: Arc::new(SystemClock),
        };
        for (key, timeout) in [
            ("connect_timeout_ms", &mut builder.timeouts.connect),
            ("response_timeout_ms", &mut builder.timeouts.response),
            ("retry_ms", &mut builder.timeouts.retry),
        ] {
            if let Some(millis) = take_number(&mut url, key)? {
                *timeout = Duration::from_millis(millis.into());
            }
        }
        builder.default_ttl = take_number(&mut url, "ttl_s")?.map(|seconds| Duration::from_secs(seconds.into()));
        builder.wait_replicas = take_number(&mut url, "wait_replicas")?.unwrap_or(0);
        builder.certificate = match (url.take("cert"), url.take("key")) {
            (Some(certificate), Some(key)) => Some((certificate.into(), key.into())),
            (None, None) => None,
            _ => return Err(Error::invalid(OPERATION, "`cert` and `key` are given together").hint("give the files of both, in PEM")),
        };
        url.finish()?;
        Ok(builder)
    }

    /// Sets the namespace that the store sees; by default `default`.
    pub fn namespace(mut self, namespace: Namespace) -> Self {
        self.namespace = namespace;
        self
    }

    /// Sets what every key begins with; by default `replay`. At most 64 bytes, without braces.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets how long making a connection may take; by default 2 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.connect = timeout;
        self
    }

    /// Sets how long the server may take to answer; by default 5 s. A write without an answer ends as `Timeout` with the advice
    /// [`Ambiguous`](replay_core::Retry::Ambiguous).
    pub fn response_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.response = timeout;
        self
    }

    /// Sets for how long a call is tried again while nothing listens, or the server is loading its data, or a cluster elects a new
    /// primary; by default 2 s. Only what the server has surely not carried out is tried again.
    pub fn retry_for(mut self, time: Duration) -> Self {
        self.timeouts.retry = time;
        self
    }

    /// Sets how long a saga that has ended is kept after its last record, if it has records without a retention of their own; by
    /// default for ever. The server then removes it by itself, an hour later at the earliest.
    pub fn default_ttl(mut self, ttl: Duration) -> Self {
        self.default_ttl = Some(ttl);
        self
    }

    /// Sets how many replicas must have a write before it counts as done; by default 0. Not for clusters.
    pub fn wait_replicas(mut self, count: u32) -> Self {
        self.wait_replicas = count;
        self
    }

    /// Sets the clock that cells expire by and log entries are stamped with; by default the system's.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Connects.
    ///
    /// # Errors
    /// - `Invalid`: settings that contradict each other, a number of a database that does not exist, a cluster's node without
    ///   `redis+cluster:`, a certificate that cannot be read.
    /// - `PermissionDenied`: the server refused the user or the password.
    /// - `Unavailable`: nothing listens there, nobody answers in time, or TLS could not be agreed on.
    pub async fn open(self) -> Result<Redis> {
        let keys = Keys::new(&self.prefix, &self.namespace)?;
        let target = self.target()?;
        let mark = keys.of_shard(Kind::Mark, Shard::of(b""));
        let link = Link::new(target, self.timeouts, (self.wait_replicas, &mark));
        link.open(OPERATION).await.map_err(|error| error.with("store", &self.address))?;
        Ok(Redis::from_shared(Shared::new(self.address.to_string(), self.namespace, self.clock, keys, link, self.default_ttl)))
    }

    fn target(&self) -> Result<Target> {
        let failed = |error: RedisError| Failure { stage: Stage::Connecting, ..Failure::from(error) }.into_error(OPERATION, Effect::Read);
        if self.wait_replicas > 0 && self.address.topology == Topology::Cluster {
            return Err(Error::invalid(OPERATION, "a cluster cannot wait for replicas with each write")
                .hint("leave `wait_replicas` out, or set `min-replicas-to-write` on the servers"));
        }
        let certificates = self.certificates()?;
        let connections = self.address.connections().map_err(failed)?;
        Ok(match &self.address.topology {
            Topology::Single => {
                let Some(connection) = connections.into_iter().next() else {
                    return Err(Error::invalid(OPERATION, "the URL has no host"));
                };
                Target::Single(Box::new(match certificates {
                    Some(certificates) => Client::build_with_tls(connection, certificates).map_err(failed)?,
                    None => Client::open(connection).map_err(failed)?,
                }))
            }
            Topology::Sentinel(name) => Target::Sentinel(Box::new(Mutex::new(self.sentinel(name, certificates).map_err(failed)?))),
            Topology::Cluster => {
                let mut builder = ClusterClientBuilder::new(connections)
                    .connection_timeout(self.timeouts.connect)
                    .response_timeout(self.timeouts.response)
                    .overall_response_timeout(Some(self.timeouts.response))
                    .retries(CLUSTER_RETRIES)
                    .min_retry_wait(10)
                    .max_retry_wait(300)
                    .tcp_settings(tcp());
                if let Some(certificates) = certificates {
                    builder = builder.certs(certificates);
                }
                Target::Cluster(Box::new(builder.build().map_err(failed)?))
            }
        })
    }

    fn sentinel(&self, name: &str, certificates: Option<TlsCertificates>) -> redis::RedisResult<redis::sentinel::SentinelClient> {
        let mut builder = SentinelClientBuilder::new(self.address.addresses(), name, SentinelServerType::Master)?
            .set_client_to_redis_db(self.address.database)
            .set_client_to_redis_tcp_settings(tcp())
            .set_client_to_sentinel_tcp_settings(tcp());
        if let Some(user) = &self.address.user {
            builder = builder.set_client_to_redis_username(user);
        }
        if let Some(password) = &self.address.password {
            builder = builder.set_client_to_redis_password(password);
        }
        if let Some(user) = &self.sentinel_credentials.0 {
            builder = builder.set_client_to_sentinel_username(user);
        }
        if let Some(password) = &self.sentinel_credentials.1 {
            builder = builder.set_client_to_sentinel_password(password);
        }
        if self.address.is_tls {
            builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure).set_client_to_sentinel_tls_mode(TlsMode::Secure);
        }
        if let Some(certificates) = certificates {
            builder = builder.set_client_to_redis_certificates(certificates.clone()).set_client_to_sentinel_certificates(certificates);
        }
        builder.build()
    }

    /// The certificates of a secure connection that are not the system's.
    fn certificates(&self) -> Result<Option<TlsCertificates>> {
        if !self.address.is_tls {
            if self.ca.is_some() || self.certificate.is_some() {
                return Err(Error::invalid(OPERATION, "certificates are for secure connections").hint("write rediss: instead of redis:"));
            }
            return Ok(None);
        }
        // Where several providers are compiled in, rustls cannot choose, and panics. An application's own choice stays.
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        }
        let root_cert = self.ca.as_ref().map(read).transpose()?;
        let client_tls = match &self.certificate {
            Some((certificate, key)) => Some(ClientTlsConfig { client_cert: read(certificate)?, client_key: read(key)? }),
            None => None,
        };
        Ok((root_cert.is_some() || client_tls.is_some()).then_some(TlsCertificates { client_tls, root_cert }))
    }
}

fn read(path: &PathBuf) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|gone| {
        let error = Error::new(ErrorKind::Invalid, OPERATION).message("a certificate or key cannot be read");
        error.hint("give the path of a PEM file that this user may read").with("path", path.display()).caused_by(gone)
    })
}

fn take_number(url: &mut StoreUrl, key: &'static str) -> Result<Option<u32>> {
    let wrong = |word: &str| Error::invalid(OPERATION, format!("{key} is not a number: `{word}`")).hint("give a whole number");
    url.take(key).map(|word| word.parse().map_err(|_| wrong(&word))).transpose()
}

impl fmt::Debug for RedisBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisBuilder")
            .field("at", &self.address)
            .field("namespace", &self.namespace)
            .field("prefix", &self.prefix)
            .field("timeouts", &self.timeouts)
            .field("default_ttl", &self.default_ttl)
            .field("wait_replicas", &self.wait_replicas)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builder(url: &str) -> Result<RedisBuilder> {
        Redis::builder(url)
    }

    #[test]
    fn options_of_a_url_are_taken_and_wrong_ones_named() {
        let url = "redis://a?namespace=eu&prefix=p&connect_timeout_ms=1&response_timeout_ms=2&retry_ms=3&ttl_s=4&wait_replicas=5";
        let builder = builder(url).unwrap();
        assert_eq!((builder.namespace.as_str(), builder.prefix.as_str(), builder.wait_replicas), ("eu", "p", 5));
        let Timeouts { connect, response, retry } = builder.timeouts;
        assert_eq!([connect, response, retry].map(|time| time.as_millis()), [1, 2, 3]);
        assert_eq!(builder.default_ttl, Some(Duration::from_secs(4)));
        for wrong in ["ttl_s=x", "ttl_s=-1", "compression=3", "cert=a.pem", "connect_timeout=1"] {
            let error = Redis::builder(&format!("redis://a?{wrong}")).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{wrong}");
        }
    }

    #[tokio::test]
    async fn settings_that_contradict_each_other_are_refused() {
        for wrong in ["redis://a?ca=x.pem", "redis+cluster://a?wait_replicas=1", "redis://a?prefix=a{b}", "rediss://a?ca=/does/not/exist"] {
            let error = builder(wrong).unwrap().open().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{wrong}: {error:?}");
        }
    }

    #[test]
    fn no_secret_is_shown() {
        let builder = builder("redis+sentinel://u:hunter2@a/m?sentinel_password=hunter3").unwrap();
        let shown = format!("{builder:?}");
        assert!(!shown.contains("hunter"), "{shown}");
    }
}
