//! S3: a server of our own (`s3-server` of `replay-e2e`), or moto.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::moto;
use crate::probe::Probe;
use crate::process::Launch;
use crate::server::Plan;
use crate::tls;

pub use crate::server::Server;

/// Which S3 server to start; by default our own, which honours conditions.
#[derive(Debug, Clone, Copy, Default)]
#[must_use]
pub struct Options {
    moto: bool,
    strip_conditions: bool,
    tls: bool,
}

impl Options {
    /// Has no effect but to say what is meant: our own server keeps what it acknowledged as files, which survive its death, not that
    /// of the machine; moto keeps everything in memory.
    pub fn durable(self, _durable: bool) -> Self {
        self
    }

    /// The Python server moto, one request at a time, instead of our own. It loses its data on restart, and accepts any secret.
    pub fn moto(mut self, moto: bool) -> Self {
        self.moto = moto;
        self
    }

    /// A server that ignores `If-Match` and `If-None-Match`, as some do, so that a backend can be shown to refuse it.
    pub fn strip_conditions(mut self, strip: bool) -> Self {
        self.strip_conditions = strip;
        self
    }

    /// Speaks only TLS, with the certificate of [`tls::ca`].
    pub fn tls(mut self, tls: bool) -> Self {
        self.tls = tls;
        self
    }
}

/// The bucket that is there from the start.
pub const BUCKET: &str = "replay-test";
/// The keys that our own server accepts.
pub const ACCESS_KEY: &str = "replay-access";
/// The secret of [`ACCESS_KEY`].
pub const SECRET_KEY: &str = "replay-secret";
/// Names the `s3-server` program where it is not beside the tests' programs.
pub const PROGRAM_VARIABLE: &str = "REPLAY_TEST_S3_SERVER";

/// Starts an S3 server and waits until it answers.
///
/// URL: `s3://ACCESS_KEY:SECRET_KEY@replay-test?endpoint=http://127.0.0.1:PORT&region=us-east-1&path_style=true`; with TLS `https`
/// and `ca`.
///
/// # Errors
/// If our own server has not been built, if moto cannot be installed, or if there is no answer within 30 s.
pub fn start(options: Options) -> Result<Server> {
    if options.moto && (options.strip_conditions || options.tls) {
        return Err(Error::new("only our own S3 server can ignore conditions or speak TLS; leave out moto(true)"));
    }
    if options.moto { start_moto() } else { start_own(options) }
}

fn start_own(options: Options) -> Result<Server> {
    let program = program()?;
    let folder = Folder::create("s3")?;
    let data = folder.path().join("data");
    fs::create_dir_all(data.join(BUCKET)).map_err(Error::of("cannot make the bucket"))?;
    if options.tls {
        tls::install(folder.path(), None)?;
    }
    let plan = |folder: &Folder, ports: &[u16], index: usize| {
        let data = folder.path().join("data");
        let mut args = vec!["--dir".into(), data.clone().into(), "--port".into(), ports[index].to_string().into()];
        if options.tls {
            args.extend(["--tls-dir".into(), folder.path().into()]);
        }
        args.extend(options.strip_conditions.then(|| "--strip-conditions".into()));
        let env = vec![("REPLAY_S3_ACCESS_KEY", ACCESS_KEY.to_owned()), ("REPLAY_S3_SECRET_KEY", SECRET_KEY.to_owned())];
        let log = folder.path().join("s3-server.log");
        let launch = Launch { program: program.clone(), args, env, dir: data, log, user: None, end: "TERM" };
        Ok(Plan { launch, probe: if options.tls { Probe::Tls } else { Probe::Http } })
    };
    let ca = tls::ca()?;
    Server::start(folder, "s3s-fs".to_owned(), 1, plan, |ports| {
        let url = url(ports[0]);
        if options.tls { format!("{}&ca={}", url.replace("http:", "https:"), tls::in_url(&ca)) } else { url }
    })
}

fn start_moto() -> Result<Server> {
    let moto = moto::install()?;
    let folder = Folder::create("moto")?;
    let plan = |folder: &Folder, ports: &[u16], index: usize| {
        let args = vec!["-c".into(), moto::LAUNCHER.into(), ports[index].to_string().into()];
        let (dir, log) = (folder.path().to_owned(), folder.path().join("moto.log"));
        // moto has nothing to keep: it may end as fast as it can.
        let launch = Launch { program: moto.python.clone(), args, env: Vec::new(), dir, log, user: None, end: "KILL" };
        Ok(Plan { launch, probe: Probe::Bucket(BUCKET) })
    };
    Server::start(folder, moto.version.clone(), 1, plan, |ports| url(ports[0]))
}

pub(crate) fn url(port: u16) -> String {
    format!("s3://{ACCESS_KEY}:{SECRET_KEY}@{BUCKET}?endpoint=http://127.0.0.1:{port}&region=us-east-1&path_style=true")
}

/// `s3-server` as the variable says, else beside the folder that cargo puts the tests' programs in.
fn program() -> Result<PathBuf> {
    let given = std::env::var_os(PROGRAM_VARIABLE).map(PathBuf::from);
    let beside = || {
        let ours = std::env::current_exe().ok()?;
        ours.ancestors().skip(1).take(3).map(|folder| folder.join("s3-server")).find(|path| path.is_file())
    };
    given.or_else(beside).filter(|path| Path::is_file(path)).ok_or_else(|| {
        Error::new("the program s3-server has not been built; run the tests by `cargo xtask test`, or first `cargo build -p replay-e2e --bin s3-server`")
    })
}
