//! A payment service of a few lines: it honours idempotency keys, and refuses tokens that have expired.

use std::{collections::BTreeMap, convert::Infallible, net::SocketAddr, sync::Arc};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use replay::{Digest, Error, ErrorKind, Result};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};

const MAX_BODY_BYTES: usize = 64 << 10;

/// Payments by the idempotency key that they were asked for with.
type Ledger = Arc<Mutex<BTreeMap<String, Value>>>;

/// A service that listens.
#[derive(Debug)]
pub(crate) struct Payments {
    listener: TcpListener,
    address: SocketAddr,
    ledger: Ledger,
}

impl Payments {
    /// Listens at `address`; port 0 takes any that is free.
    ///
    /// # Errors
    /// `Unavailable` if somebody else listens there.
    pub(crate) async fn listen(address: SocketAddr) -> Result<Self> {
        let wrong = |error: std::io::Error| {
            Error::new(ErrorKind::Unavailable, "serve payments")
                .message(format!("{address} cannot be listened at"))
                .hint("give another address, as in --payment-server 127.0.0.1:9001")
                .caused_by(error)
        };
        let listener = TcpListener::bind(address).await.map_err(wrong)?;
        let address = listener.local_addr().map_err(wrong)?;
        Ok(Self { listener, address, ledger: Ledger::default() })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until it is dropped; `told` hears of each request.
    pub(crate) async fn serve(self, told: impl Fn(&str) + Send + Sync + 'static) -> Infallible {
        let told = Arc::new(told);
        let mut connections = JoinSet::new();
        loop {
            let Ok((stream, _)) = self.listener.accept().await else {
                tokio::task::yield_now().await;
                continue;
            };
            let (ledger, told) = (self.ledger.clone(), told.clone());
            connections.spawn(async move {
                let service = service_fn(move |request| {
                    let (ledger, told) = (ledger.clone(), told.clone());
                    async move { Ok::<_, Infallible>(answer(&ledger, &*told, request).await) }
                });
                // A client that goes away is its own affair.
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
            while connections.try_join_next().is_some() {}
        }
    }
}

async fn answer(ledger: &Ledger, told: &(impl Fn(&str) + Sync), request: Request<Incoming>) -> Response<Full<bytes::Bytes>> {
    let (parts, body) = request.into_parts();
    let key = parts.headers.get("idempotency-key").and_then(|key| key.to_str().ok()).unwrap_or_default().to_owned();
    let body = Limited::new(body, MAX_BODY_BYTES).collect().await.map(http_body_util::Collected::to_bytes);
    let body: Value = body.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    let (status, answer) = match (&parts.method, parts.uri.path()) {
        (&Method::POST, "/charge") => charge(ledger, key, &body),
        (&Method::POST, "/refund") => refund(ledger, &body),
        (&Method::GET, "/payments") => (StatusCode::OK, Value::Array(ledger.lock().values().cloned().collect())),
        _ => (StatusCode::NOT_FOUND, json!({"error": "there is POST /charge, POST /refund and GET /payments"})),
    };
    told(&format!("{} {} -> {} {answer}", parts.method, parts.uri.path(), status.as_u16()));
    let mut response = Response::new(Full::from(answer.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static("application/json"));
    response
}

/// Charges once per key. A refusal is not remembered, so a corrected token may be tried with the same key.
fn charge(ledger: &Ledger, key: String, body: &Value) -> (StatusCode, Value) {
    let mut ledger = ledger.lock();
    if let Some(payment) = ledger.get(&key).filter(|_| !key.is_empty()) {
        return (StatusCode::OK, payment.clone());
    }
    let refuse = |why: &str| (StatusCode::PAYMENT_REQUIRED, json!({ "error": why }));
    match body["token"].as_str() {
        Some(token) if token.starts_with("tok_ok") => {
            let id = format!("pay_{:.10}", Digest::of(format!("{key}/{}", ledger.len()).as_bytes()));
            let payment = json!({"id": id, "amount": body["amount"], "refunded": false});
            ledger.insert(if key.is_empty() { id } else { key }, payment.clone());
            (StatusCode::CREATED, payment)
        }
        Some("tok_expired") => refuse("the token has expired"),
        Some(_) => refuse("the token is not known"),
        None => (StatusCode::BAD_REQUEST, json!({"error": "there is no token"})),
    }
}

fn refund(ledger: &Ledger, body: &Value) -> (StatusCode, Value) {
    match ledger.lock().values_mut().find(|payment| payment["id"] == body["id"]) {
        Some(payment) => {
            payment["refunded"] = json!(true);
            (StatusCode::OK, payment.clone())
        }
        None => (StatusCode::NOT_FOUND, json!({"error": "there is no such payment"})),
    }
}
