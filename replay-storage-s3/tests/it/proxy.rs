//! A proxy that counts requests and does to them what a test asks.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, stream};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Request, Response,
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use parking_lot::Mutex;
use replay_core::{Clock as _, SystemClock};
use tokio::net::TcpListener;

/// What is done to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// It goes through, and its answer too.
    Forward,
    /// It goes through; its answer is lost with the connection.
    LoseAnswer,
    /// It is lost with the connection.
    Lose,
    /// It goes through; its answer never comes.
    NeverAnswer,
    /// It is answered with this status instead.
    Refuse(u16),
    /// It goes through; its answer comes after so long.
    Late(Duration),
    /// It goes through; of its answer a hundredth comes in each of so long.
    Trickle(Duration),
}

/// A request as the proxy saw it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: hyper::HeaderMap,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub(crate) fn is_conditional_delete(&self) -> bool {
        self.method == "DELETE" && self.headers.contains_key("if-match")
    }

    pub(crate) fn is_get_of(&self, part: &str) -> bool {
        self.method == "GET" && self.path.contains(part)
    }

    pub(crate) fn is_conditional_put(&self) -> bool {
        self.method == "PUT" && (self.headers.contains_key("if-match") || self.headers.contains_key("if-none-match"))
    }
}

type Rule = Box<dyn FnMut(&Seen) -> Act + Send>;

struct State {
    upstream: String,
    client: Client<HttpConnector, Full<Bytes>>,
    seen: Mutex<Vec<Seen>>,
    rule: Mutex<Rule>,
}

/// A proxy in front of a server, on a port of its own.
pub(crate) struct Proxy {
    pub(crate) endpoint: String,
    state: Arc<State>,
}

impl Proxy {
    /// Begins to forward to `upstream`, as in `http://127.0.0.1:9000`.
    pub(crate) async fn start(upstream: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("a bound port"));
        let state = Arc::new(State {
            upstream: upstream.to_owned(),
            client: Client::builder(TokioExecutor::new()).build_http(),
            seen: Mutex::default(),
            rule: Mutex::new(Box::new(|_| Act::Forward)),
        });
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = shared.clone();
                tokio::spawn(async move {
                    let answer = service_fn(move |request| answer(state.clone(), request));
                    // A connection that a test cuts off ends in an error.
                    let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), answer).await;
                });
            }
        });
        Self { endpoint, state }
    }

    /// What is done to each request from here on.
    pub(crate) fn rule(&self, rule: impl FnMut(&Seen) -> Act + Send + 'static) {
        *self.state.rule.lock() = Box::new(rule);
    }

    /// Does `act` to the next request that `is_meant`, and forwards all others.
    pub(crate) fn once(&self, act: Act, is_meant: impl Fn(&Seen) -> bool + Send + 'static) {
        let mut is_done = false;
        self.rule(move |seen| {
            if is_done || !is_meant(seen) {
                return Act::Forward;
            }
            is_done = true;
            act
        });
    }

    /// The requests since this was last asked.
    pub(crate) fn take_seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.state.seen.lock())
    }
}

type Answer = Result<Response<UnsyncBoxBody<Bytes, Infallible>>, Box<dyn std::error::Error + Send + Sync>>;

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let path = head.uri.path_and_query().map_or_else(String::new, ToString::to_string);
    let seen = Seen { method: head.method.to_string(), path: path.clone(), headers: head.headers.clone() };
    let act = (state.rule.lock())(&seen);
    state.seen.lock().push(seen);
    match act {
        Act::Lose => return Err("lost".into()),
        Act::Refuse(status) => return Ok(Response::builder().status(status).body(Full::default().boxed_unsync())?),
        _ => {}
    }
    let mut request = Request::builder().method(head.method).uri(format!("{}{path}", state.upstream));
    // The host is signed, so it stays what the client said.
    request.headers_mut().ok_or("a request")?.extend(head.headers);
    let answer = state.client.request(request.body(Full::new(body))?).await?;
    match act {
        Act::LoseAnswer => return Err("lost".into()),
        Act::NeverAnswer => std::future::pending::<()>().await,
        Act::Late(pause) => SystemClock.sleep(pause).await,
        _ => {}
    }
    let (head, body) = answer.into_parts();
    let body = body.collect().await?.to_bytes();
    let Act::Trickle(pause) = act else { return Ok(Response::from_parts(head, Full::new(body).boxed_unsync())) };
    let step = body.len().div_ceil(100).max(1);
    let pieces: Vec<Bytes> = (0..body.len()).step_by(step).map(|start| body.slice(start..body.len().min(start + step))).collect();
    let pieces = stream::iter(pieces).then(move |piece| async move {
        SystemClock.sleep(pause).await;
        Ok(Frame::data(piece))
    });
    Ok(Response::from_parts(head, BodyExt::boxed_unsync(StreamBody::new(pieces.boxed()))))
}
