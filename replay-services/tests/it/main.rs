//! Real servers: started, killed, stopped, started again, and gone afterwards.

#![allow(clippy::unwrap_used, reason = "this is test code")]

mod postgres;
mod redis;
mod s3;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use replay_services::{Server, identity};

/// What the process at `port` answers to `message`, up to the first line of it.
fn ask(port: u16, message: &[u8]) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_millis(500)))?;
    stream.write_all(message)?;
    let mut line = String::new();
    BufReader::new(&mut stream).read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}

/// The status and the body of an HTTP answer; moto wants to see whose the request is, and takes anybody's word for it.
fn request(port: u16, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let signature = "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";
    let length = body.len();
    let head = format!("Host: 127.0.0.1\r\nAuthorization: {signature}\r\nContent-Length: {length}\r\nConnection: close");
    write!(stream, "{method} {path} HTTP/1.1\r\n{head}\r\n\r\n{body}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// Drops the server and looks for what it might leave: processes, its port and its folder.
fn assert_leaves_nothing(server: Server) {
    let (pids, ports, dir) = (server.pids(), server.ports(), server.dir().to_owned());
    assert!(dir.exists() && pids.iter().all(|&pid| identity::start_of(pid).is_some()));
    drop(server);
    assert!(!dir.exists(), "{} is still there", dir.display());
    for pid in pids {
        assert_eq!(identity::start_of(pid), None, "process {pid} still runs");
    }
    for port in ports {
        TcpStream::connect(("127.0.0.1", port)).unwrap_err();
    }
}
