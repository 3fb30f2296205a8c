//! The stores behind a network: one list, so that a new one gets every fault that there is.

use replay_core::{Retry, Store};
use replay_services::{Server, Service, postgres, redis, s3};

/// Names the backends under test, with commas between; all if it is not set. `cargo xtask test --only` sets it.
const ONLY_VARIABLE: &str = "REPLAY_TEST_ONLY";

/// A store behind a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkStore {
    /// Redis by itself.
    Redis,
    /// PostgreSQL.
    Postgres,
    /// An S3 server.
    S3,
}

impl NetworkStore {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Redis, Self::Postgres, Self::S3];

    fn service(self) -> Service {
        match self {
            Self::Redis => Service::Redis,
            Self::Postgres => Service::Postgres,
            Self::S3 => Service::S3,
        }
    }

    /// Whether it is under test. Where it is not, `cargo xtask test` has said so.
    pub fn is_under_test(self) -> bool {
        let backend = self.service().backend();
        std::env::var(ONLY_VARIABLE).map_or(true, |only| only.split(',').any(|name| name.trim() == backend))
    }

    /// The URL of the server that tests share.
    pub fn shared_url(self) -> String {
        replay_services::required_url(self.service().variable())
    }

    /// Starts a server whose acknowledged writes survive SIGKILL. Blocks.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start_durable(self) -> Server {
        match self {
            Self::Redis => redis::start(redis::Options::default().durable(true)),
            Self::Postgres => postgres::start(postgres::Options::default().durable(true)),
            Self::S3 => s3::start(s3::Options::default().durable(true)),
        }
        .expect("the server starts")
    }

    /// Options of its URL that let a call give up within a few seconds.
    pub fn impatient(self) -> &'static str {
        match self {
            Self::Redis => "connect_timeout_ms=2000&response_timeout_ms=1000&retry_ms=200",
            Self::Postgres => "connect_timeout_ms=2000&timeout_ms=1000&acquire_timeout_ms=2000",
            Self::S3 => "connect_timeout_ms=2000&timeout_ms=1000",
        }
    }
}

/// `url` with `options` as well, such as `namespace=a`.
pub fn with(url: &str, options: &str) -> String {
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}{options}")
}

/// `url` with a namespace that nobody else has.
pub fn in_own_namespace(url: &str) -> String {
    with(url, &format!("namespace=e2e-{}-{:012x}", std::process::id(), fastrand::u64(..1 << 48)))
}

/// Where the server of `url` listens, as in `127.0.0.1:6379`.
pub fn address(url: &str) -> &str {
    let begin = url.split_once("endpoint=http://").or_else(|| url.split_once("://")).map_or(url, |(_, rest)| rest);
    let end = begin.find(['/', '?', '&']).map_or(begin, |end| &begin[..end]);
    end.rsplit_once('@').map_or(end, |(_, address)| address)
}

/// `url` with another address in the place of its server's.
pub fn at(url: &str, other: std::net::SocketAddr) -> String {
    url.replacen(address(url), &other.to_string(), 1)
}

/// Opens the store at `url`.
///
/// # Errors
/// As [`replay::Backends::open`].
pub async fn open(url: &str) -> replay_core::Result<Store> {
    replay::Backends::default().open(url).await
}

/// Opens the store at `url`, whose impatience a busy machine may exceed now and then.
///
/// # Errors
/// As [`open`], after five attempts.
pub async fn open_soon(url: &str) -> replay_core::Result<Store> {
    for _ in 0..4 {
        match open(url).await {
            Err(error) if error.retry_advice() == Retry::Safe => {}
            other => return other,
        }
    }
    open(url).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_in_each_url_and_replaced() {
        let other = std::net::SocketAddr::from(([127, 0, 0, 1], 9));
        for (url, replaced) in [
            ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:9/0"),
            ("postgres://user:pw@127.0.0.1:5432/db?a=b", "postgres://user:pw@127.0.0.1:9/db?a=b"),
            ("s3://k:s@bucket?endpoint=http://127.0.0.1:80&region=x", "s3://k:s@bucket?endpoint=http://127.0.0.1:9&region=x"),
        ] {
            assert_eq!(at(url, other), replaced);
        }
        assert_eq!(with("a:b?c=d", "e=f"), "a:b?c=d&e=f");
    }
}
