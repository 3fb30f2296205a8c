//! An S3 server for tests: s3s-fs with conditions that hold, on one port of the loopback interface, over plain http or TLS.
//!
//! s3s-fs checks a condition and writes in two acts, so that two requests at once may both win. Here whatever may write has the server
//! to itself, once its body has arrived in full; a client that goes away in the middle of a body leaves nothing behind.
//!
//! s3s-fs also writes an object and its `ETag` in two acts. A server that was killed between them would go on with the old `ETag` of a new
//! object, so the notes of `ETag`s are dropped at the start: those of the objects' contents are then given.
//!
//! Keys come from the environment (`REPLAY_S3_ACCESS_KEY`, `REPLAY_S3_SECRET_KEY`), where other users of the machine cannot read them.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it says when it is ready, and why it ended")]

use std::{
    env,
    error::Error,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use hyper::{Method, Request, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use s3s::{
    Body, HttpError, HttpResponse, S3Request, S3Result,
    access::{S3Access, S3AccessContext},
    auth::SimpleAuth,
    dto::{CompleteMultipartUploadInput, CopyObjectInput, DeleteObjectInput, GetObjectInput, HeadObjectInput, PutObjectInput},
    s3_error,
    service::{S3Service, S3ServiceBuilder},
};
use s3s_fs::FileSystem;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::RwLock,
};
use tokio_rustls::TlsAcceptor;

mod tagged;

use tagged::Tagged;

const USAGE: &str = "usage: s3-server --dir DIR --port PORT [--tls-dir DIR] [--strip-conditions]";
/// More than any test sends.
const MAX_BODY_BYTES: usize = 256 << 20;

struct Arguments {
    /// Each folder in it is a bucket.
    dir: PathBuf,
    port: u16,
    /// Holds `server.crt` and `server.key`, if TLS is to be spoken.
    tls_dir: Option<PathBuf>,
    /// Behave like a server that ignores the `If-*` headers.
    strip_conditions: bool,
}

impl Arguments {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut dir, mut port, mut tls_dir, mut strip_conditions) = (None, None, None, false);
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--dir" => dir = args.next().map(PathBuf::from),
                "--port" => port = args.next().and_then(|port| port.parse().ok()),
                "--tls-dir" => tls_dir = Some(PathBuf::from(args.next().ok_or(USAGE)?)),
                "--strip-conditions" => strip_conditions = true,
                _ => return Err(format!("unknown argument {arg}; {USAGE}")),
            }
        }
        Ok(Self { dir: dir.ok_or(USAGE)?, port: port.ok_or(USAGE)?, tls_dir, strip_conditions })
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match serve().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("s3-server: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse(env::args().skip(1))?;
    let key = |name: &str| env::var(name).map_err(|_| format!("{name} is not set"));
    forget_etags(&arguments.dir)?;
    let mut builder = S3ServiceBuilder::new(Tagged::new(FileSystem::new(&arguments.dir).map_err(|error| format!("{error:?}"))?));
    builder.set_auth(SimpleAuth::from_single(key("REPLAY_S3_ACCESS_KEY")?, key("REPLAY_S3_SECRET_KEY")?));
    builder.set_access(Access { dir: arguments.dir, strip_conditions: arguments.strip_conditions });
    let server = Server { service: builder.build(), turn: Arc::default() };
    let tls = arguments.tls_dir.as_deref().map(acceptor).transpose()?;
    let listener = TcpListener::bind(("127.0.0.1", arguments.port)).await?;
    println!("ready on port {}", listener.local_addr()?.port());
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (server, tls) = (server.clone(), tls.clone());
        tokio::spawn(async move {
            match tls {
                Some(tls) => {
                    // A client that does not trust the certificate is no matter of the server's.
                    if let Ok(stream) = tls.accept(stream).await {
                        server.converse(stream).await;
                    }
                }
                None => server.converse(stream).await,
            }
        });
    }
}

fn acceptor(dir: &Path) -> Result<TlsAcceptor, Box<dyn Error>> {
    let certificates = CertificateDer::pem_file_iter(dir.join("server.crt"))?.collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_file(dir.join("server.key"))?;
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider())).with_safe_default_protocol_versions()?;
    Ok(TlsAcceptor::from(Arc::new(config.with_no_client_auth().with_single_cert(certificates, key)?)))
}

/// Removes the notes that s3s-fs made of objects' `ETag`s; without one it takes that of the content.
fn forget_etags(dir: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| name.starts_with(".bucket-") && name.ends_with(".internal.json")) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[derive(Clone)]
struct Server {
    service: S3Service,
    /// Held shared by what reads and alone by what may write.
    turn: Arc<RwLock<()>>,
}

impl Server {
    async fn converse(self, stream: impl AsyncRead + AsyncWrite + Unpin + 'static) {
        let answer = service_fn(move |request| self.clone().answer(request));
        // A client that hangs up is no matter of the server's.
        let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), answer).await;
    }

    async fn answer(self, request: Request<Incoming>) -> Result<HttpResponse, HttpError> {
        let mut request = request.map(Body::from);
        if matches!(*request.method(), Method::GET | Method::HEAD) {
            let _turn = self.turn.read().await;
            return self.service.call(request).await;
        }
        if let Err(error) = request.body_mut().store_all_limited(MAX_BODY_BYTES).await {
            return Err(HttpError::new(error));
        }
        // In a task of its own, since what the client asked for in full is done in full, also when it hangs up meanwhile.
        let act = tokio::spawn(async move {
            let _turn = self.turn.write().await;
            self.service.call(request).await
        });
        act.await.unwrap_or_else(|panic| Err(HttpError::new(Box::new(panic))))
    }
}

/// What is refused, and what is forgotten, once the signature has been checked.
struct Access {
    dir: PathBuf,
    /// Forgets the conditions of a request; before, its signature, which covers their headers, would no longer hold.
    strip_conditions: bool,
}

#[async_trait::async_trait]
impl S3Access for Access {
    async fn check(&self, request: &mut S3AccessContext<'_>) -> S3Result<()> {
        if request.credentials().is_none() {
            return Err(s3_error!(AccessDenied, "the request has no signature"));
        }
        // s3s-fs makes the bucket that an object is put into.
        let is_missing = request.s3_path().get_bucket_name().is_some_and(|bucket| !self.dir.join(bucket).is_dir());
        if is_missing && request.s3_op().name() != "CreateBucket" {
            return Err(s3_error!(NoSuchBucket, "there is no such bucket"));
        }
        Ok(())
    }

    async fn put_object(&self, request: &mut S3Request<PutObjectInput>) -> S3Result<()> {
        if self.strip_conditions {
            request.input.if_match = None;
            request.input.if_none_match = None;
        }
        Ok(())
    }

    async fn complete_multipart_upload(&self, request: &mut S3Request<CompleteMultipartUploadInput>) -> S3Result<()> {
        if self.strip_conditions {
            request.input.if_match = None;
            request.input.if_none_match = None;
        }
        Ok(())
    }

    async fn delete_object(&self, request: &mut S3Request<DeleteObjectInput>) -> S3Result<()> {
        if self.strip_conditions {
            request.input.if_match = None;
        }
        Ok(())
    }

    async fn copy_object(&self, request: &mut S3Request<CopyObjectInput>) -> S3Result<()> {
        if self.strip_conditions {
            request.input.copy_source_if_match = None;
            request.input.copy_source_if_none_match = None;
        }
        Ok(())
    }

    async fn get_object(&self, request: &mut S3Request<GetObjectInput>) -> S3Result<()> {
        if self.strip_conditions {
            request.input.if_match = None;
            request.input.if_none_match = None;
        }
        Ok(())
    }

    async fn head_object(&self, request: &mut S3Request<HeadObjectInput>) -> S3Result<()> {
        if self.strip_conditions {
            request.input.if_match = None;
            request.input.if_none_match = None;
        }
        Ok(())
    }
}
