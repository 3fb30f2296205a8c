//! PostgreSQL, as a new cluster of databases in a temporary folder.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use crate::error::{Error, Result};
use crate::folder::{Folder, tail};
use crate::port::random;
use crate::probe::Probe;
use crate::process::Launch;
use crate::server::Plan;
use crate::user::{self, User};
use crate::{install, tls};

pub use crate::server::Server;

/// How to start PostgreSQL; by default as fast as can be, with TLS for those who ask for it.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct Options {
    durable: bool,
    settings: Vec<(String, String)>,
}

impl Options {
    /// With `true`, commits are synchronised to disk as PostgreSQL does by default; with `false`, the default, nothing is (`fsync`,
    /// `synchronous_commit` and `full_page_writes` are off).
    pub fn durable(mut self, durable: bool) -> Self {
        self.durable = durable;
        self
    }

    /// Further settings of `postgresql.conf`, such as `("max_connections", "20")`; they win over ours.
    pub fn settings(mut self, settings: &[(&str, &str)]) -> Self {
        self.settings.extend(settings.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())));
        self
    }
}

/// Starts PostgreSQL and waits until it answers (about 0.6 s).
///
/// URL: `postgres://postgres:PASSWORD@127.0.0.1:PORT/postgres`, the superuser. TLS is there with the certificate of
/// [`tls::ca`], and not demanded.
///
/// # Errors
/// If there is no PostgreSQL and it cannot be installed, or if it does not answer within 30 s.
#[expect(clippy::needless_pass_by_value, reason = "options are made for one call")]
pub fn start(options: Options) -> Result<Server> {
    let bin = install::postgres()?;
    let version = install::version(&bin.join("postgres"));
    let folder = Folder::create("postgres")?;
    let user = user::unprivileged(folder.path(), &["postgres", "nobody"])?;
    let password = format!("{:016x}", random());
    tls::install(folder.path(), user)?;
    init(&bin, folder.path(), user, &password)?;
    let plan = |folder: &Folder, ports: &[u16], index: usize| {
        let launch = Launch {
            program: bin.join("postgres"),
            args: arguments(&options, ports[index], folder.path()).into_iter().map(Into::into).collect(),
            env: Vec::new(),
            dir: folder.path().join(DATA),
            log: folder.path().join("postgres.log"),
            user,
            end: "QUIT",
        };
        Ok(Plan { launch, probe: Probe::Postgres })
    };
    Server::start(folder, version, 1, plan, |ports| format!("postgres://postgres:{password}@127.0.0.1:{}/postgres", ports[0]))
}

/// Where the databases are in the server's folder; the guard of the folder knows it too.
const DATA: &str = "data";

fn init(bin: &Path, folder: &Path, user: Option<User>, password: &str) -> Result<()> {
    let (data, secret, log) = (folder.join(DATA), folder.join("password"), folder.join("initdb.log"));
    let doing = "cannot prepare the folder of PostgreSQL's data";
    fs::create_dir(&data).map_err(Error::of(doing))?;
    fs::write(&secret, password).map_err(Error::of(doing))?;
    for (path, mode) in [(&data, 0o700), (&secret, 0o600)] {
        fs::set_permissions(path, Permissions::from_mode(mode)).map_err(Error::of(doing))?;
        if let Some(user) = user {
            user.own(path)?;
        }
    }
    let args = ["-U", "postgres", "-A", "scram-sha-256", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions"];
    let mut args: Vec<_> = args.iter().map(Into::into).collect();
    args.extend(["-D".into(), data.clone().into(), "--pwfile".into(), secret.into()]);
    let launch = Launch { program: bin.join("initdb"), args, env: Vec::new(), dir: data, log: log.clone(), user, end: "KILL" };
    let output = File::create(&log).map_err(Error::of(doing))?;
    let mut command = launch.command();
    command.stdout(output.try_clone().map_err(Error::of(doing))?).stderr(output).stdin(Stdio::null());
    let status = command.status().map_err(Error::of("cannot start initdb"))?;
    if status.success() { Ok(()) } else { Err(Error::new(format!("initdb failed; its output ends with{}", tail(&log)))) }
}

fn arguments(options: &Options, port: u16, folder: &Path) -> Vec<String> {
    let file = |name: &str| folder.join(name).display().to_string();
    let mut settings = vec![
        ("listen_addresses", "127.0.0.1".to_owned()),
        ("port", port.to_string()),
        // A path to a socket could be too long, and nobody needs one.
        ("unix_socket_directories", String::new()),
        // In the folder, so that it goes with it.
        ("dynamic_shared_memory_type", "mmap".to_owned()),
        // Many test processes have a pool each.
        ("max_connections", "300".to_owned()),
        ("ssl", "on".to_owned()),
        ("ssl_cert_file", file(tls::CERTIFICATE)),
        ("ssl_key_file", file(tls::KEY)),
    ];
    if !options.durable {
        settings.extend(["fsync", "synchronous_commit", "full_page_writes"].map(|name| (name, "off".to_owned())));
    }
    let given = options.settings.iter().map(|(name, value)| (name.as_str(), value.clone()));
    let settings = settings.into_iter().chain(given).flat_map(|(name, value)| ["-c".to_owned(), format!("{name}={value}")]);
    ["-D".to_owned(), file(DATA)].into_iter().chain(settings).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_durable_is_left_as_postgres_has_it() {
        let line = |options: &Options| arguments(options, 11_000, Path::new("/f")).join(" ");
        assert!(line(&Options::default()).contains("-c fsync=off -c synchronous_commit=off"));
        assert!(!line(&Options::default().durable(true)).contains("fsync"));
        assert!(line(&Options::default().settings(&[("max_connections", "20")])).ends_with("-c max_connections=20"));
    }
}
