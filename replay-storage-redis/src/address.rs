//! Where a URL leads: hosts, user, password, database.

use std::fmt;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo, io::tcp::TcpSettings};
use replay_core::{Error, Result, storage::StoreUrl};

const OPERATION: &str = "open store";
const FORMS: &str = "write redis://[USER:PASSWORD@]HOST:PORT[/DATABASE], redis+sentinel://HOST:PORT,HOST:PORT/NAME or \
                     redis+cluster://HOST:PORT,HOST:PORT; rediss… for TLS";

/// What kind of servers there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Topology {
    Single,
    /// Sentinels, which know where the primary of this name is.
    Sentinel(String),
    Cluster,
}

/// A URL taken apart. `Display` and `Debug` leave the user and the password out.
#[derive(Clone)]
pub(crate) struct Address {
    pub(crate) topology: Topology,
    pub(crate) is_tls: bool,
    pub(crate) hosts: Vec<(String, u16)>,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) database: i64,
}

fn wrong(message: impl Into<String>) -> Error {
    Error::invalid(OPERATION, message).hint(FORMS)
}

impl Address {
    /// # Errors
    /// `Invalid` for another scheme or what cannot be understood.
    pub(crate) fn parse(url: &StoreUrl) -> Result<Self> {
        let scheme = url.scheme();
        let (secure, kind) = scheme.split_once('+').unwrap_or((scheme, ""));
        let is_tls = match secure {
            "redis" => false,
            "rediss" => true,
            _ => return Err(wrong(format!("`{scheme}` is not the scheme of a Redis store"))),
        };
        let rest = url.rest().strip_prefix("//").unwrap_or(url.rest());
        let (credentials, rest) = rest.rsplit_once('@').map_or((None, rest), |(credentials, rest)| (Some(credentials), rest));
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, password) = match credentials {
            None => (None, None),
            Some(credentials) => {
                let (user, password) = credentials.split_once(':').map_or((credentials, None), |(user, password)| (user, Some(password)));
                (Some(decode(user)?).filter(|user| !user.is_empty()), password.map(decode).transpose()?)
            }
        };
        let default_port = if kind == "sentinel" { 26379 } else { 6379 };
        let hosts = hosts.split(',').map(|host| parse_host(host, default_port)).collect::<Result<Vec<_>>>()?;
        let (topology, database) = match kind {
            "" if hosts.len() > 1 => return Err(wrong("a single server has one address")),
            "" => (Topology::Single, path),
            "cluster" if !matches!(path, "" | "0") => return Err(wrong("a cluster has no databases to choose from")),
            "cluster" => (Topology::Cluster, ""),
            "sentinel" => {
                let (name, database) = path.split_once('/').unwrap_or((path, ""));
                if name.is_empty() {
                    return Err(wrong("the name of the primary is missing"));
                }
                (Topology::Sentinel(decode(name)?), database)
            }
            _ => return Err(wrong(format!("`{scheme}` is not the scheme of a Redis store"))),
        };
        let database = match database {
            "" => 0,
            number => number.parse::<u16>().map_err(|_| wrong(format!("`{number}` is not the number of a database")))?.into(),
        };
        Ok(Self { topology, is_tls, hosts, user, password, database })
    }

    pub(crate) fn settings(&self) -> RedisConnectionInfo {
        let mut settings = RedisConnectionInfo::default().set_db(self.database);
        if let Some(user) = &self.user {
            settings = settings.set_username(user);
        }
        if let Some(password) = &self.password {
            settings = settings.set_password(password);
        }
        settings
    }

    /// The hosts as the driver takes them, without user and password.
    pub(crate) fn addresses(&self) -> Vec<ConnectionAddr> {
        let address = |(host, port): &(String, u16)| {
            let (host, port) = (host.clone(), *port);
            if self.is_tls {
                ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
            } else {
                ConnectionAddr::Tcp(host, port)
            }
        };
        self.hosts.iter().map(address).collect()
    }

    /// The hosts with everything that is needed to connect to them.
    pub(crate) fn connections(&self) -> redis::RedisResult<Vec<ConnectionInfo>> {
        let infos = self
            .addresses()
            .into_iter()
            .map(|address| Ok(address.into_connection_info()?.set_redis_settings(self.settings()).set_tcp_settings(tcp())));
        infos.collect()
    }
}

/// Without delay: an append waits for its answer, and the system must not wait for more to send.
pub(crate) fn tcp() -> TcpSettings {
    TcpSettings::default().set_nodelay(true)
}

fn parse_host(text: &str, default_port: u16) -> Result<(String, u16)> {
    let bare = |text: &str| text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text).to_owned();
    let (host, port) = match text.rsplit_once(':') {
        // The last colon of [::1] is not that of a port.
        Some((host, port)) if !port.contains(']') => {
            (bare(host), port.parse().ok().filter(|port| *port > 0).ok_or_else(|| wrong(format!("`{port}` is not a port")))?)
        }
        _ => (bare(text), default_port),
    };
    if host.is_empty() {
        return Err(wrong("a host is missing"));
    }
    Ok((host, port))
}

fn decode(text: &str) -> Result<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let (byte, after) = match (first, tail) {
            (b'%', [high, low, after @ ..]) => {
                let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                let pair = digit(*high).zip(digit(*low)).ok_or_else(|| wrong("a % is not followed by two hexadecimal digits"))?;
                (pair.0 << 4 | pair.1, after)
            }
            (b'%', _) => return Err(wrong("a % is not followed by two hexadecimal digits")),
            _ => (*first, tail),
        };
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8(bytes).map_err(|_| wrong("a part of it is not UTF-8 once it is decoded"))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<_> = self.hosts.iter().map(|(host, port)| format!("{host}:{port}")).collect();
        f.write_str(&hosts.join(","))?;
        match &self.topology {
            Topology::Single if self.database == 0 => Ok(()),
            Topology::Single => write!(f, "/{}", self.database),
            Topology::Sentinel(name) => write!(f, "/{name}/{}", self.database),
            Topology::Cluster => f.write_str(" cluster"),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Address> {
        Address::parse(&StoreUrl::parse(url).unwrap())
    }

    #[test]
    fn every_form_is_taken_apart() {
        let address = parse("redis://127.0.0.1").unwrap();
        assert_eq!((address.to_string().as_str(), address.is_tls), ("127.0.0.1:6379", false));
        let address = parse("rediss://us%40er:p%3Aw%2F@db.example:7000/3").unwrap();
        assert_eq!((address.user.as_deref(), address.password.as_deref(), address.database), (Some("us@er"), Some("p:w/"), 3));
        assert!(address.is_tls && address.to_string() == "db.example:7000/3");
        let address = parse("redis://:secret@[::1]:6380").unwrap();
        assert_eq!((address.user.as_deref(), address.password.as_deref()), (None, Some("secret")));
        assert_eq!(address.hosts, [("::1".to_owned(), 6380)]);
        assert_eq!(parse("redis://[::1]").unwrap().hosts, [("::1".to_owned(), 6379)]);
        let address = parse("redis+cluster://a:1,b:2,c").unwrap();
        assert_eq!((address.topology, address.hosts.len()), (Topology::Cluster, 3));
        let address = parse("rediss+sentinel://u:p@a,b:2/my%20primary/1").unwrap();
        assert_eq!((address.topology, address.database), (Topology::Sentinel("my primary".into()), 1));
        assert_eq!(address.hosts[0].1, 26379);
    }

    #[test]
    fn what_is_wrong_is_named_without_the_password() {
        for url in [
            "redis://",
            "redis://a:x",
            "redis://a:0",
            "redis://a,b",
            "redis://a/x",
            "redis+cluster://a/1",
            "redis+sentinel://a",
            "redis+other://a",
            "sqlite:x",
            "redis://u:hunter2%@a",
            "redis://u:hunter2@a/b",
        ] {
            let error = parse(url).unwrap_err();
            assert!(!format!("{error:?} {error}").contains("hunter2"), "{error:?}");
        }
        let address = parse("redis://u:hunter2@a").unwrap();
        assert!(!format!("{address} {address:?}").contains("hunter2"));
    }
}
