//! The S3 server that other tests start: what does not need a signed request. The S3 backend's own tests sign theirs.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
};

use replay_services::s3::{BUCKET, Options, start};

/// The whole answer to an anonymous request.
fn answer(port: u16, method: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let head = "Host: 127.0.0.1\r\nContent-Length: 0\r\nConnection: close";
    write!(stream, "{method} {path} HTTP/1.1\r\n{head}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn objects(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir.join("data").join(BUCKET)).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn without_a_signature_nothing_is_written() {
    for strip in [false, true] {
        let server = start(Options::default().strip_conditions(strip)).unwrap();
        let answer = answer(server.port(), "PUT", &format!("/{BUCKET}/object"));
        assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("AccessDenied"), "{answer}");
        assert!(objects(server.dir()).is_empty());
    }
}

#[test]
fn what_it_has_stays_when_it_is_killed() {
    let server = start(Options::default()).unwrap();
    fs::write(server.dir().join("data").join(BUCKET).join("object"), "kept").unwrap();
    server.kill().unwrap();
    TcpStream::connect(("127.0.0.1", server.port())).unwrap_err();
    server.restart().unwrap();
    assert!(answer(server.port(), "GET", "/").starts_with("HTTP/1.1 403"));
    assert_eq!(objects(server.dir()), ["object"]);
}
