//! A TCP proxy in front of a server, which does to connections what networks do.
//!
//! It forwards bytes as they come and knows no protocol. A fault is set at any time and counts from then on; [`Proxy::heal`] ends it.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use replay_core::{Clock, SystemClock};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
    task::{JoinHandle, JoinSet},
};

#[cfg(test)]
mod tests;

/// What happens to connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Every connection is reset, once; new ones are as good as ever.
    Cut,
    /// Every connection is reset, and so are the next ones, so many of them.
    Refuse(u32),
    /// Connections that are open now stay open, but nothing arrives at either end any more. New ones are good.
    HalfOpen,
    /// The same, and of new connections nothing arrives either, until it is healed.
    BlackHole,
    /// Requests on connections that are open now arrive, their answers do not. New connections are good.
    LoseAnswers,
    /// After so many more bytes of requests, on all connections together, the one that carries the last of them is reset, once.
    ResetRequest(u64),
    /// The same with answers; 0 = with the first byte, which does not arrive.
    ResetAnswer(u64),
    /// Whatever arrives arrives so much later, until it is healed.
    Delay(Duration),
    /// The next piece of an answer comes so much later, once.
    LateAnswer(Duration),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Request,
    Answer,
}

/// What becomes of a piece of data.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Arrives,
    IsLost,
    /// So much of it arrives before the connection is reset.
    Resets(usize),
    Waits(Duration),
}

#[derive(Debug, Default)]
struct State {
    fault: Option<Fault>,
    /// Connections are numbered from 1; up to this one they were open when the fault was set.
    open: u64,
    accepted: u64,
    fired: u64,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Connections up to this number are reset.
    reset: watch::Sender<u64>,
}

/// A proxy on a port of its own. Dropped, it ends with all of its connections.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    listening: JoinHandle<()>,
}

/// How a test sets faults while the proxy is elsewhere.
#[derive(Debug, Clone)]
pub struct Switch(Arc<Shared>);

impl Proxy {
    /// A proxy in front of the server at `target`, as in `127.0.0.1:6379`.
    ///
    /// # Errors
    /// If there is no free port.
    pub async fn start(target: &str) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { state: Mutex::default(), reset: watch::Sender::new(0) });
        let listening = tokio::spawn(listen(listener, target.to_owned(), shared.clone()));
        Ok(Self { shared, address, listening })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What sets faults.
    pub fn switch(&self) -> Switch {
        Switch(self.shared.clone())
    }

    /// Sets a fault in the place of the one before.
    pub fn set(&self, fault: Fault) {
        self.shared.set(fault);
    }

    /// Lets everything arrive again. What was lost stays lost: connections that lost something are reset.
    pub fn heal(&self) {
        self.shared.heal();
    }

    /// How often a fault did something to a connection or a piece of data.
    pub fn fired(&self) -> u64 {
        self.shared.state.lock().fired
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Switch {
    /// As [`Proxy::set`].
    pub fn set(&self, fault: Fault) {
        self.0.set(fault);
    }
}

impl Shared {
    fn set(&self, fault: Fault) {
        let mut state = self.state.lock();
        state.open = state.accepted;
        state.fault = Some(fault);
        if matches!(fault, Fault::Cut | Fault::Refuse(_)) {
            self.reset.send_replace(state.open);
        }
    }

    fn heal(&self) {
        let mut state = self.state.lock();
        if matches!(state.fault, Some(Fault::HalfOpen | Fault::BlackHole | Fault::LoseAnswers)) {
            self.reset.send_replace(state.accepted);
        }
        state.fault = None;
    }

    /// The number of a new connection, and whether it may live.
    fn accept(&self) -> (u64, bool) {
        let mut state = self.state.lock();
        state.accepted += 1;
        let refused = matches!(state.fault, Some(Fault::Refuse(1..)));
        if let Some(Fault::Refuse(left)) = &mut state.fault
            && refused
        {
            *left -= 1;
        }
        state.fired += u64::from(refused);
        (state.accepted, !refused)
    }

    fn was_reset(&self) {
        self.state.lock().fired += 1;
    }

    /// What becomes of the next `len` bytes of a connection.
    fn judge(&self, connection: u64, way: Way, len: usize) -> Fate {
        let mut state = self.state.lock();
        let was_open = connection <= state.open;
        let fate = match (&mut state.fault, way) {
            (Some(Fault::HalfOpen), _) | (Some(Fault::LoseAnswers), Way::Answer) if was_open => Fate::IsLost,
            (Some(Fault::BlackHole), _) => Fate::IsLost,
            (Some(Fault::ResetRequest(left)), Way::Request) | (Some(Fault::ResetAnswer(left)), Way::Answer) => {
                let bytes = len as u64;
                if bytes < *left {
                    *left -= bytes;
                    return Fate::Arrives;
                }
                Fate::Resets(usize::try_from(*left).unwrap_or(len))
            }
            (Some(Fault::Delay(time)), _) | (Some(Fault::LateAnswer(time)), Way::Answer) => Fate::Waits(*time),
            _ => return Fate::Arrives,
        };
        state.fired += 1;
        if matches!(state.fault, Some(Fault::ResetRequest(_) | Fault::ResetAnswer(_) | Fault::LateAnswer(_))) {
            state.fault = None;
        }
        fate
    }
}

async fn listen(listener: TcpListener, target: String, shared: Arc<Shared>) {
    // Ends with this task, and the connections with it.
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let (number, lives) = shared.accept();
        if !lives {
            reset(&client);
            continue;
        }
        let (target, shared) = (target.clone(), shared.clone());
        connections.spawn(async move {
            match TcpStream::connect(&target).await {
                Ok(server) => carry(&shared, number, client, server).await,
                Err(_) => reset(&client),
            }
        });
    }
}

/// Lets the stream end with a reset when it is dropped, so that the other end sees an error and not an orderly end.
fn reset(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}

/// A connection ended with a reset.
struct Reset;

async fn carry(shared: &Shared, number: u64, mut client: TcpStream, mut server: TcpStream) {
    let _ = client.set_nodelay(true).and_then(|()| server.set_nodelay(true));
    let mut told = shared.reset.subscribe();
    let ended = {
        let (client_reads, client_writes) = client.split();
        let (server_reads, server_writes) = server.split();
        let both = async {
            tokio::try_join!(
                pump(shared, number, Way::Request, client_reads, server_writes),
                pump(shared, number, Way::Answer, server_reads, client_writes)
            )
            .map(drop)
        };
        tokio::select! {
            _ = told.wait_for(|up_to| number <= *up_to) => {
                shared.was_reset();
                Err(Reset)
            }
            ended = both => ended,
        }
    };
    if ended.is_err() {
        reset(&client);
        reset(&server);
    }
}

async fn pump(shared: &Shared, number: u64, way: Way, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> Result<(), Reset> {
    let mut piece = vec![0; 16 << 10];
    let mut lost = false;
    loop {
        let len = from.read(&mut piece).await.map_err(|_| Reset)?;
        if len == 0 && lost {
            // Nobody hears of this end either.
            std::future::pending::<()>().await;
        }
        if len == 0 {
            let _ = to.shutdown().await;
            return Ok(());
        }
        // What follows a lost piece cannot arrive: it would not be the same stream.
        let fate = if lost { Fate::IsLost } else { shared.judge(number, way, len) };
        let arriving = match fate {
            Fate::Arrives => len,
            Fate::IsLost => {
                lost = true;
                continue;
            }
            Fate::Resets(arriving) => {
                let _ = to.write_all(&piece[..arriving.min(len)]).await;
                return Err(Reset);
            }
            Fate::Waits(time) => {
                SystemClock.sleep(time).await;
                len
            }
        };
        to.write_all(&piece[..arriving]).await.map_err(|_| Reset)?;
    }
}
