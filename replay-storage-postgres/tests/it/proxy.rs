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
        let (mode, told) = watch::channel(Mode::Pass);
        let listener = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (server, told) = (server.clone(), told.clone());
                tokio::spawn(async move {
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = TcpStream::connect(server).await.expect("the server is there").into_split();
                    tokio::select! {
                        () = pump(from_client, to_server, told.clone(), false) => {}
                        () = pump(from_server, to_client, told, true) => {}
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

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut mode: watch::Receiver<Mode>, answers: bool) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let now = *mode.borrow();
        if now == Mode::CutAnswers && answers {
            return;
        }
        if now == Mode::Swallow && mode.wait_for(|mode| *mode != Mode::Swallow).await.is_err() {
            return;
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
