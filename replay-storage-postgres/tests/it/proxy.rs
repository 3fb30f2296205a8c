//! A proxy in front of the server that misbehaves as it is told.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

use crate::support::parts;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Bytes go both ways.
    Pass,
    /// Nothing goes either way, and nobody is told.
    Swallow,
    /// What is asked for arrives, and the connection ends before the answer does.
    CutAnswers,
    /// The connection with the next answer ends before it arrives, and from then on those on which this text is asked for.
    CutAnswerThenAsking(&'static str),
    /// Connections on which this text is asked for end.
    CutAsking(&'static str),
}

/// Ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    mode: watch::Sender<Mode>,
    listener: JoinHandle<()>,
}

impl Proxy {
    /// A proxy in front of the shared server.
    pub(crate) async fn start() -> Self {
        let server = parts().2;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let mode = watch::Sender::new(Mode::Pass);
        let modes = mode.clone();
        let listener = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (server, modes) = (server.clone(), modes.clone());
                tokio::spawn(async move {
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = TcpStream::connect(server).await.expect("the server is there").into_split();
                    tokio::select! {
                        () = pump(from_client, to_server, &modes, false) => {}
                        () = pump(from_server, to_client, &modes, true) => {}
                    }
                });
            }
        });
        Self { address, mode, listener }
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// The shared server's URL through this proxy.
    pub(crate) fn url(&self) -> String {
        let (user, password, _, database) = parts();
        format!("postgres://{user}:{password}@{}/{database}?sslmode=disable", self.address)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, modes: &watch::Sender<Mode>, answers: bool) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let now = *modes.borrow();
        match now {
            Mode::CutAnswers if answers => return,
            Mode::CutAnswerThenAsking(text) if answers => {
                modes.send_replace(Mode::CutAsking(text));
                return;
            }
            Mode::CutAsking(text) if !answers && buffer[..count].windows(text.len()).any(|part| part == text.as_bytes()) => return,
            Mode::Swallow if modes.subscribe().wait_for(|mode| *mode != Mode::Swallow).await.is_err() => return,
            _ => {}
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
