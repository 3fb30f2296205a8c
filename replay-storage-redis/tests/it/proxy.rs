//! A server between the store and Redis that sees every command, and may answer it, or lose the answer.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use replay_services::Server;

/// What becomes of a command.
pub(crate) enum Act {
    /// The server answers it.
    Pass,
    /// The server carries it out, and the connection ends without an answer.
    Lose,
    /// This is the answer, and the server never sees it.
    Answer(&'static str),
}

type Rule = Box<dyn FnMut(&str) -> Act + Send>;

/// It ends with the test's process.
pub(crate) struct Proxy {
    port: u16,
    rule: Arc<Mutex<Rule>>,
    commands: Arc<AtomicUsize>,
}

impl Proxy {
    pub(crate) fn before(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let rule: Arc<Mutex<Rule>> = Arc::new(Mutex::new(Box::new(|_: &str| Act::Pass)));
        let (proxy, to) = (Self { port, rule, commands: Arc::default() }, server.port());
        let (rule, commands) = (proxy.rule.clone(), proxy.commands.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (rule, commands) = (rule.clone(), commands.clone());
                std::thread::spawn(move || {
                    // Either side may end it.
                    let _ = serve(&client, to, &rule, &commands);
                });
            }
        });
        proxy
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// From now on `rule` decides, which is given the name of each command.
    pub(crate) fn rule(&self, rule: impl FnMut(&str) -> Act + Send + 'static) {
        *self.rule.lock().expect("no panic") = Box::new(rule);
    }

    /// How many commands came since this was asked last.
    pub(crate) fn count(&self) -> usize {
        self.commands.swap(0, Ordering::SeqCst)
    }
}

fn serve(client: &TcpStream, to: u16, rule: &Mutex<Rule>, commands: &AtomicUsize) -> std::io::Result<()> {
    let server = TcpStream::connect(("127.0.0.1", to))?;
    let (mut requests, mut answers) = (BufReader::new(client), BufReader::new(&server));
    loop {
        let request = frame(&mut requests)?;
        let text = String::from_utf8_lossy(&request);
        let name = text.split("\r\n").nth(2).unwrap_or_default().to_uppercase();
        commands.fetch_add(1, Ordering::SeqCst);
        let act = rule.lock().expect("no panic")(&name);
        if let Act::Answer(answer) = act {
            (&*client).write_all(format!("{answer}\r\n").as_bytes())?;
            continue;
        }
        (&server).write_all(&request)?;
        let answer = frame(&mut answers)?;
        if matches!(act, Act::Lose) {
            return client.shutdown(std::net::Shutdown::Both);
        }
        (&*client).write_all(&answer)?;
    }
}

/// One request or answer as it came.
fn frame(from: &mut impl BufRead) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if from.read_until(b'\n', &mut bytes)? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    let count = std::str::from_utf8(&bytes[1..]).ok().and_then(|text| text.trim().parse::<i64>().ok()).unwrap_or(0);
    match bytes[0] {
        b'$' if count >= 0 => {
            from.take(count.cast_unsigned() + 2).read_to_end(&mut bytes)?;
        }
        b'*' => {
            for _ in 0..count {
                bytes.extend(frame(from)?);
            }
        }
        _ => {}
    }
    Ok(bytes)
}
