//! Asking a server, in its own protocol, whether it is ready.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

/// A server that is starting may accept a connection and then be silent.
const PATIENCE: Duration = Duration::from_secs(2);

/// How to see that a server answers.
#[derive(Debug, Clone)]
pub(crate) enum Probe {
    /// Redis on its port.
    Redis,
    /// Redis that speaks only TLS on its port: through its socket, after this `AUTH` command.
    RedisSocket(PathBuf, String),
    /// A node of a Redis Cluster, by what it knows of the others.
    RedisCluster,
    /// PostgreSQL on its port.
    Postgres,
    /// HTTP on its port: any answer.
    Http,
    /// TLS on its port: plain text is answered by an alert.
    Tls,
    /// An S3 server that accepts anonymous requests: when it has made the bucket.
    Bucket(&'static str),
}

impl Probe {
    /// Whether the server at `port`, which is process `pid` if that is known, answers.
    pub(crate) fn is_ready(&self, port: u16, pid: Option<u32>) -> bool {
        match self {
            Self::Redis => tcp(port).is_some_and(|stream| is_redis(stream, pid)),
            Self::RedisCluster => Self::Redis.is_ready(port, pid) && tcp(port).is_some_and(is_redis_cluster),
            Self::RedisSocket(path, login) => UnixStream::connect(path).is_ok_and(|mut stream| {
                let _ = stream.set_read_timeout(Some(PATIENCE));
                redis(&mut stream, login).is_some() && is_redis(stream, pid)
            }),
            Self::Postgres => tcp(port).is_some_and(is_postgres),
            Self::Http => http(port, "GET", "/").is_some(),
            Self::Tls => tcp(port).is_some_and(is_tls),
            Self::Bucket(name) => http(port, "PUT", &format!("/{name}")).is_some_and(|status| status == 200),
        }
    }
}

fn tcp(port: u16) -> Option<TcpStream> {
    let stream = TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    Some(stream)
}

/// Whether Redis has loaded its data (it answers this before), and is the process that we mean. One that wants a password first counts as
/// ready.
fn is_redis(mut stream: impl Read + Write, pid: Option<u32>) -> bool {
    match redis(&mut stream, "INFO") {
        Some(Reply::Bulk(info)) => {
            let says = |fact: &str| info.lines().any(|line| line == fact);
            says("loading:0") && pid.is_none_or(|pid| says(&format!("process_id:{pid}")))
        }
        Some(Reply::Error(error)) => error.starts_with("NOAUTH"),
        _ => false,
    }
}

/// Whether a node sees all slots served. It waits for 2 s after its start before it says so.
fn is_redis_cluster(mut stream: TcpStream) -> bool {
    let Some(Reply::Bulk(info)) = redis(&mut stream, "CLUSTER INFO") else { return false };
    ["cluster_state:ok", "cluster_slots_ok:16384"].iter().all(|fact| info.lines().any(|line| line == *fact))
}

/// What Redis answers, as far as we ask.
enum Reply {
    Simple,
    Error(String),
    Bulk(String),
}

fn redis(stream: &mut (impl Read + Write), command: &str) -> Option<Reply> {
    stream.write_all(format!("{command}\r\n").as_bytes()).ok()?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let line = line.trim_end();
    let rest = line.get(1..)?.to_owned();
    match line.as_bytes()[0] {
        b'+' => Some(Reply::Simple),
        b'-' => Some(Reply::Error(rest)),
        b'$' => {
            let mut bytes = vec![0; rest.parse().ok()?];
            reader.read_exact(&mut bytes).ok()?;
            Some(Reply::Bulk(String::from_utf8_lossy(&bytes).into_owned()))
        }
        _ => None,
    }
}

/// Whether PostgreSQL answers a start-up message by asking for a password; while it starts or recovers it answers with an error.
fn is_postgres(mut stream: TcpStream) -> bool {
    const PROTOCOL_3_0: u32 = 196_608;
    let parameters = b"user\0postgres\0database\0postgres\0\0";
    let length = u32::try_from(8 + parameters.len()).unwrap_or_default();
    let message = [&length.to_be_bytes()[..], &PROTOCOL_3_0.to_be_bytes(), parameters].concat();
    let mut answer = [0];
    stream.write_all(&message).and_then(|()| stream.read_exact(&mut answer)).is_ok() && answer == *b"R"
}

fn is_tls(mut stream: impl Read + Write) -> bool {
    const ALERT: u8 = 21;
    let mut answer = [0];
    stream.write_all(b"plain text\r\n\r\n").and_then(|()| stream.read_exact(&mut answer)).is_ok() && answer == [ALERT]
}

/// The status of an HTTP request without a body to the server at `port`.
pub(crate) fn http(port: u16, method: &str, path: &str) -> Option<u16> {
    let mut stream = tcp(port)?;
    let request = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).ok()?;
    line.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    /// A server that answers one connection with `answer`.
    fn answering(answer: &'static [u8]) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 1024]);
            stream.write_all(answer).unwrap();
        });
        port
    }

    #[test]
    fn redis_is_ready_when_it_has_loaded_and_is_the_process_that_is_meant() {
        assert!(Probe::Redis.is_ready(answering(b"$26\r\nprocess_id:42\r\nloading:0\r\n"), Some(42)));
        assert!(!Probe::Redis.is_ready(answering(b"$26\r\nprocess_id:42\r\nloading:0\r\n"), Some(43)), "another server took the port");
        assert!(!Probe::Redis.is_ready(answering(b"$26\r\nprocess_id:42\r\nloading:1\r\n"), Some(42)), "it answers this while it loads");
        assert!(Probe::Redis.is_ready(answering(b"-NOAUTH Authentication required.\r\n"), Some(42)));
    }

    #[test]
    fn postgres_is_ready_when_it_asks_for_a_password() {
        assert!(Probe::Postgres.is_ready(answering(b"R\0\0\0\x17"), Some(1)));
        assert!(!Probe::Postgres.is_ready(answering(b"E\0\0\0\x50SFATAL\0"), Some(1)), "the database system is starting up");
    }

    #[test]
    fn a_tls_server_is_ready_when_it_refuses_plain_text() {
        assert!(Probe::Tls.is_ready(answering(b"\x15\x03\x03\0\x02\x02\x0a"), Some(1)));
        assert!(!Probe::Tls.is_ready(answering(b"HTTP/1.1 400 Bad Request\r\n\r\n"), Some(1)));
    }

    #[test]
    fn an_http_server_is_ready_when_it_answers_at_all() {
        assert_eq!(http(answering(b"HTTP/1.1 403 Forbidden\r\n\r\n"), "GET", "/"), Some(403));
        assert_eq!(http(answering(b"nonsense\r\n"), "GET", "/"), None);
    }
}
