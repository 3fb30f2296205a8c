//! Where an http step lets itself be redirected to, and what it sends there.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    sync::{Arc, Mutex},
};

use crate::support::*;

/// A server that records the head of each request and answers as told by its path: `/302/b/x` redirects to `/x` of the second server.
struct Server {
    address: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn serve(other: Option<&str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let (seen, other) = (heads.clone(), other.unwrap_or_default().to_owned());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") {
                    assert!(reader.read_line(&mut head).unwrap() > 0);
                }
                let head = head.to_ascii_lowercase();
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
                reader.read_exact(&mut vec![0; length]).unwrap();
                let parts: Vec<&str> = head.split_whitespace().nth(1).unwrap().split('/').collect();
                let (status, location) = match parts[..] {
                    [_, code, "a", to] => (code, format!("location: /{to}\r\n")),
                    [_, code, "b", to] => (code, format!("location: http://{other}/{to}\r\n")),
                    _ => ("200", String::new()),
                };
                seen.lock().unwrap().push(head.clone());
                write!(stream, "HTTP/1.1 {status} X\r\n{location}connection: close\r\ncontent-length: 2\r\n\r\n{{}}").unwrap();
            }
        });
        Self { address, heads }
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.heads.lock().unwrap())
    }
}

fn start(world: &World, method: &str, url: &str, allow: &str) -> Ran {
    let step = format!("method: {method}, url: \"http://{url}\", headers: {{Authorization: Bearer canary}}");
    world.write("s.yaml", &format!("name: s\nallow_hosts: [{allow}]\nsteps:\n  - {{name: a, http: {{{step}}}}}\n"));
    world.run(&["start", "s.yaml"])
}

#[test]
fn a_redirected_post_is_no_success_unless_it_stays_a_post() {
    let world = World::new();
    let server = Server::serve(None);
    for code in ["301", "302", "303"] {
        let ran = start(&world, "POST", &format!("{}/{code}/a/x", server.address), "").exits(1);
        let message = ran.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains(code) && message.contains("location /x"), "{message}");
        assert_eq!(server.take().len(), 1, "{code} is not followed");
        start(&world, "GET", &format!("{}/{code}/a/x", server.address), "").exits(0);
        assert!(server.take()[1].starts_with("get /x "));
    }
    for code in ["307", "308"] {
        start(&world, "POST", &format!("{}/{code}/a/x", server.address), "").exits(0);
        let heads = server.take();
        assert!(heads[1].starts_with("post /x ") && heads[1].contains("bearer canary") && heads[1].contains("idempotency-key"));
    }
}

#[test]
fn another_host_does_not_get_the_headers_of_the_file() {
    let world = World::new();
    let other = Server::serve(None);
    let server = Server::serve(Some(&other.address));
    let url = format!("{}/307/b/x", server.address);
    let ran = start(&world, "POST", &url, "").exits(1);
    assert!(ran.json()["error"]["message"].as_str().unwrap().contains("allow_hosts"));
    assert!(other.take().is_empty());
    start(&world, "POST", &url, &format!("\"{}\"", other.address)).exits(0);
    assert!(server.take()[0].contains("bearer canary"));
    let heads = other.take();
    assert!(heads.len() == 1 && heads[0].starts_with("post /x ") && heads[0].contains("idempotency-key"), "{heads:?}");
    assert!(!heads[0].contains("canary"), "{heads:?}");
}
