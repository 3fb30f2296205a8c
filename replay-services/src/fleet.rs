//! The servers that tests share, each with the variable that says where it is.

use std::env;
use std::path::Path;
use std::thread;

use crate::container::{self, Container, Engine};
use crate::error::{Error, Result};
use crate::{Server, postgres, redis, s3};

/// One of the servers that tests share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// Redis by itself.
    Redis,
    /// Redis with TLS and a user that may not do everything.
    RedisTls,
    /// A Redis Cluster of three nodes.
    RedisCluster,
    /// PostgreSQL.
    Postgres,
    /// An S3 server of our own.
    S3,
    /// A second S3 server by somebody else.
    Moto,
}

impl Service {
    /// Every service.
    pub const ALL: [Self; 6] = [Self::Redis, Self::RedisTls, Self::RedisCluster, Self::Postgres, Self::S3, Self::Moto];

    /// The name, for people and for files; where a backend has several services, it begins with the backend's.
    pub fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis-standalone",
            Self::RedisTls => "redis-tls",
            Self::RedisCluster => "redis-cluster",
            Self::Postgres => "postgres",
            Self::S3 => "s3-s3s",
            Self::Moto => "s3-moto",
        }
    }

    /// The service that [`name`](Self::name) names.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|service| service.name() == name)
    }

    /// The backend that is tested with it.
    pub fn backend(self) -> &'static str {
        match self {
            Self::Redis | Self::RedisTls | Self::RedisCluster => "redis",
            Self::Postgres => "postgres",
            Self::S3 | Self::Moto => "s3",
        }
    }

    /// The environment variable that holds the URL.
    pub fn variable(self) -> &'static str {
        match self {
            Self::Redis => "REPLAY_TEST_REDIS_URL",
            Self::RedisTls => "REPLAY_TEST_REDIS_TLS_URL",
            Self::RedisCluster => "REPLAY_TEST_REDIS_CLUSTER_URL",
            Self::Postgres => "REPLAY_TEST_POSTGRES_URL",
            Self::S3 => "REPLAY_TEST_S3_URL",
            Self::Moto => "REPLAY_TEST_S3_MOTO_URL",
        }
    }
}

/// Where servers may come from (`REPLAY_TEST_SERVICES`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Containers if an engine answers, else native servers.
    Auto,
    /// Only containers, for what there are containers for.
    Containers,
    /// Only native servers.
    Native,
}

impl Source {
    /// What `REPLAY_TEST_SERVICES` says; `auto` if it is not set.
    ///
    /// # Errors
    /// If it says something unknown.
    pub fn from_env() -> Result<Self> {
        match env::var("REPLAY_TEST_SERVICES").as_deref() {
            Ok("auto") | Err(_) => Ok(Self::Auto),
            Ok("containers") => Ok(Self::Containers),
            Ok("native") => Ok(Self::Native),
            Ok(other) => Err(Error::new(format!("REPLAY_TEST_SERVICES is {other}; it may be auto, containers or native"))),
        }
    }
}

/// A service that tests can use, until it is dropped.
#[derive(Debug)]
pub struct Running {
    /// Which one.
    pub service: Service,
    /// Where it is, with its password.
    pub url: String,
    /// Where it came from, such as `native, Redis 7.0.15`.
    pub origin: String,
    held: Held,
}

#[derive(Debug)]
enum Held {
    /// Somebody else's.
    Nothing,
    Server(Server),
    Container(Container),
}

impl Running {
    /// The service at the URL that the environment names, if it does.
    pub fn from_env(service: Service) -> Option<Self> {
        let url = env::var(service.variable()).ok().filter(|url| !url.is_empty())?;
        Some(Self { service, url, origin: "environment".to_owned(), held: Held::Nothing })
    }

    /// Starts `service`.
    ///
    /// # Errors
    /// If it cannot be had from `source`; says why.
    pub fn start(service: Service, source: Source, engine: Option<&Engine>) -> Result<Self> {
        let native = || {
            let server = start_native(service)?;
            let (url, origin) = (server.url().to_owned(), format!("native, {}", server.version()));
            Ok(Self { service, url, origin, held: Held::Server(server) })
        };
        let contained = |engine: &Engine| {
            let container = container::start(engine, service)?;
            let (url, origin) = (container.url().to_owned(), format!("container, {}", container.image()));
            Ok(Self { service, url, origin, held: Held::Container(container) })
        };
        match (source, engine) {
            // Our own S3 server needs nothing that is not there, and moto only Python: more tests have been run against them.
            (Source::Auto, Some(engine)) if service.backend() == "s3" => native().or_else(|first| also(&first, contained(engine))),
            (Source::Auto, Some(engine)) => contained(engine).or_else(|first| also(&first, native())),
            (Source::Containers, Some(engine)) if service != Service::S3 => contained(engine),
            (Source::Containers, None) if service != Service::S3 => Err(Error::new("no container engine answers")),
            _ => native(),
        }
    }

    /// The processes that make it up; none for a container or somebody else's server.
    pub fn pids(&self) -> Vec<u32> {
        if let Held::Server(server) = &self.held { server.pids() } else { Vec::new() }
    }

    /// Its temporary folder; none for somebody else's server.
    pub fn dir(&self) -> Option<&Path> {
        match &self.held {
            Held::Nothing => None,
            Held::Server(server) => Some(server.dir()),
            Held::Container(container) => Some(container.dir()),
        }
    }
}

/// The second attempt's outcome, with the reason of the first as well if it failed.
fn also(first: &Error, second: Result<Running>) -> Result<Running> {
    match second {
        Ok(running) => Ok(Running { origin: format!("{} (another source failed: {first})", running.origin), ..running }),
        Err(second) => Err(Error::new(format!("{first}; and: {second}"))),
    }
}

fn start_native(service: Service) -> Result<Server> {
    match service {
        Service::Redis => redis::start(redis::Options::default()),
        Service::RedisTls => redis::start(redis::Options::default().tls(true)),
        Service::RedisCluster => redis::start(redis::Options::default().cluster(true)),
        Service::Postgres => postgres::start(postgres::Options::default()),
        Service::S3 => s3::start(s3::Options::default()),
        Service::Moto => s3::start(s3::Options::default().moto(true)),
    }
}

/// Has every service ready, all at once: that of the environment if `use_env`, else one that is started from `source`.
pub fn start(services: &[Service], source: Source, use_env: bool) -> Vec<(Service, Result<Running>)> {
    let given = |service| if use_env { Running::from_env(service) } else { None };
    let engine = match source {
        Source::Auto | Source::Containers => Engine::find(),
        Source::Native => None,
    };
    let engine = engine.as_ref();
    thread::scope(|scope| {
        let start = |service| match given(service) {
            Some(running) => Ok(running),
            None => Running::start(service, source, engine),
        };
        let starts: Vec<_> = services.iter().map(|&service| (service, scope.spawn(move || start(service)))).collect();
        let panicked = || Err(Error::new("the thread that started it panicked"));
        starts.into_iter().map(|(service, thread)| (service, thread.join().unwrap_or_else(|_| panicked()))).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_service_is_found_by_its_name_and_has_a_variable_of_its_own() {
        for service in Service::ALL {
            assert_eq!(Service::named(service.name()), Some(service));
            assert_eq!(Service::ALL.iter().filter(|other| other.variable() == service.variable()).count(), 1);
        }
        assert_eq!(Service::named("redi"), None);
    }
}
