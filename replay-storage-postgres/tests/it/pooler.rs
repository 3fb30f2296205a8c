//! A pooler that gives each transaction another server connection, as `PgBouncer` does in transaction mode.

use std::{collections::VecDeque, net::SocketAddr, sync::Arc};

use bytes::{Buf, BytesMut};
use futures::TryStreamExt;
use replay_conformance::records::{Chain, saga};
use replay_core::{
    Error,
    storage::{LogStorage, PruneRequest, PruneScope, SnapshotQuery, SnapshotStorage},
};
use replay_storage_postgres::{Pooler, Postgres};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Mutex, Notify},
    task::JoinSet,
};

use crate::support::{Schema, parts};

/// The server connections that no transaction uses; the one that was used last comes last.
#[derive(Default)]
struct Idle {
    connections: Mutex<VecDeque<TcpStream>>,
    more: Notify,
}

impl Idle {
    async fn take(&self) -> TcpStream {
        loop {
            if let Some(connection) = self.connections.lock().await.pop_front() {
                return connection;
            }
            self.more.notified().await;
        }
    }

    async fn put(&self, connection: TcpStream) {
        self.connections.lock().await.push_back(connection);
        self.more.notify_one();
    }
}

/// Messages of the protocol out of a stream of bytes: a letter, a length that counts itself, the body.
#[derive(Default)]
struct Messages(BytesMut);

impl Messages {
    fn next(&mut self) -> Option<(u8, BytesMut)> {
        let mut head = self.0.get(..5)?;
        let (letter, len) = (head.get_u8(), head.get_u32() as usize);
        (self.0.len() > len).then(|| (letter, self.0.split_to(len + 1)))
    }
}

/// Logs the client in on a server connection of its own, which then is everybody's.
async fn log_in(client: &mut TcpStream, idle: &Idle) -> std::io::Result<()> {
    let mut server = TcpStream::connect(parts().2).await?;
    let (mut from_client, mut from_server, mut seen) = ([0; 4096], [0; 4096], Messages::default());
    loop {
        tokio::select! {
            count = client.read(&mut from_client) => server.write_all(&from_client[..count?]).await?,
            count = server.read(&mut from_server) => {
                let bytes = &from_server[..count?];
                client.write_all(bytes).await?;
                seen.0.extend_from_slice(bytes);
                while let Some((letter, _)) = seen.next() {
                    if letter == b'Z' {
                        idle.put(server).await;
                        return Ok(());
                    }
                }
            }
        }
    }
}

async fn serve(mut client: TcpStream, idle: Arc<Idle>) -> std::io::Result<()> {
    log_in(&mut client, &idle).await?;
    let mut asked = Messages::default();
    loop {
        // The first message of a transaction decides when a server connection is needed.
        while asked.0.is_empty() {
            if client.read_buf(&mut asked.0).await? == 0 {
                return Ok(());
            }
        }
        let mut server = idle.take().await;
        let mut answered = Messages::default();
        let (mut open, mut is_over) = (0, false);
        while !is_over {
            while let Some((letter, message)) = asked.next() {
                if letter == b'X' {
                    idle.put(server).await;
                    return Ok(());
                }
                open += usize::from(matches!(letter, b'S' | b'Q'));
                server.write_all(&message).await?;
            }
            tokio::select! {
                count = client.read_buf(&mut asked.0) => if count? == 0 {
                    // Whoever goes away inside a transaction takes the server connection along.
                    return Ok(());
                },
                count = server.read_buf(&mut answered.0) => {
                    count?;
                    while let Some((letter, message)) = answered.next() {
                        client.write_all(&message).await?;
                        if letter == b'Z' {
                            open -= 1;
                            is_over = open == 0 && message.last() == Some(&b'I') && asked.0.is_empty();
                        }
                    }
                }
            }
        }
        idle.put(server).await;
    }
}

async fn start() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let idle = Arc::new(Idle::default());
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(serve(client, idle.clone()));
        }
    });
    address
}

async fn open(schema: &Schema, pooler: Pooler) -> Result<Postgres, Error> {
    let (user, password, _, database) = parts();
    let url = format!("postgres://{user}:{password}@{}/{database}?sslmode=disable", start().await);
    schema.at(&url).pooler(pooler).max_connections(4).open().await
}

async fn work(store: &Postgres, n: usize) -> Result<(), Error> {
    let id = format!("saga_{n}");
    let mut chain = Chain::new(&id);
    for _ in 0..10 {
        store.append(chain.take(1)).await?;
        store.append_log(&id, chain.sequence() - 1, vec!["x".into()]).await?;
    }
    let stored: Vec<_> = store.list(SnapshotQuery::new(saga(&id))).try_collect().await?;
    assert!((1..=10).eq(stored.iter().map(|record| record.sequence)));
    store.prune(PruneRequest::new(PruneScope::KeepNewest { saga_id: Some(saga(&id)), keep: 3 })).await?;
    Ok(())
}

#[tokio::test]
async fn transactions_may_each_run_on_another_connection() {
    let schema = Schema::new();
    let store = open(&schema, Pooler::Transaction).await.unwrap();
    let mut tasks = JoinSet::new();
    for n in 0..8 {
        let store = store.clone();
        tasks.spawn(async move { work(&store, n).await });
    }
    for outcome in tasks.join_all().await {
        outcome.unwrap();
    }
}

#[tokio::test]
async fn without_saying_so_the_error_says_what_to_set() {
    let schema = Schema::new();
    schema.open().await;
    let mut errors = Vec::new();
    match open(&schema, Pooler::Prepared).await {
        Err(error) => errors.push(error),
        Ok(store) => {
            let mut tasks = JoinSet::new();
            for n in 0..8 {
                let store = store.clone();
                tasks.spawn(async move { work(&store, n).await });
            }
            errors.extend(tasks.join_all().await.into_iter().filter_map(Result::err));
        }
    }
    assert!(errors.iter().any(|error| error.advice().is_some_and(|hint| hint.contains("pooler=transaction"))), "{errors:?}");
}
