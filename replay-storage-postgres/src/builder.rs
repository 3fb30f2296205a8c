//! How a store is opened.

use std::{path::PathBuf, str::FromStr, sync::Arc, time::Duration};

use replay_core::{Clock, Error, Namespace, Result, SystemClock, storage::StoreUrl};
use sqlx::{
    ConnectOptions,
    postgres::{PgConnectOptions, PgSslMode},
};

use crate::{
    error::{Access, Failure},
    pool::{Limits, Pool},
    schema,
    sql::Statements,
    store::{Postgres, Shared},
};

const OPERATION: &str = "open store";

/// How a connection is encrypted, as PostgreSQL's `sslmode`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tls {
    /// Not at all.
    Disable,
    /// If the server offers it; its certificate is not checked.
    #[default]
    Prefer,
    /// Always; its certificate is not checked, so that this keeps out listeners, but nobody who poses as the server.
    Require,
    /// Always, with a certificate of a known authority.
    VerifyCa,
    /// Always, with a certificate of a known authority that bears the host's name.
    VerifyFull,
}

/// What is between the store and the server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pooler {
    /// Nothing, or a pooler that lends out whole sessions.
    #[default]
    None,
    /// A pooler that may give each transaction another connection, such as `PgBouncer` in transaction mode, and that knows nothing of
    /// prepared statements. Each statement costs four round trips instead of one.
    Transaction,
    /// The same, but it carries prepared statements along (`PgBouncer` from 1.21 on with `max_prepared_statements` above 0). A
    /// statement costs one round trip.
    Prepared,
}

fn word<T: Copy>(option: &str, text: &str, words: &[(&str, T)]) -> Result<T> {
    words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
        let all: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        Error::invalid(OPERATION, format!("{option} cannot be `{text}`")).hint(format!("one of {}", all.join(", ")))
    })
}

/// Opens a [`Postgres`] store; made by [`Postgres::builder`].
#[derive(Debug, Clone)]
#[must_use]
pub struct PostgresBuilder {
    connect: Address,
    schema: String,
    namespace: Namespace,
    clock: Arc<dyn Clock>,
    tls: Option<Tls>,
    ca_file: Option<PathBuf>,
    pooler: Pooler,
    creates: bool,
    migrates: bool,
    limits: Limits,
}

/// The driver's options, password included.
#[derive(Clone)]
struct Address(PgConnectOptions);

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.place())
    }
}

impl Address {
    /// Server and database, without user and password.
    fn place(&self) -> String {
        let options = &self.0;
        let database = options.get_database().unwrap_or(options.get_username());
        match options.get_socket() {
            Some(socket) => format!("{}/{database}", socket.display()),
            None if options.get_host().contains(':') => format!("[{}]:{}/{database}", options.get_host(), options.get_port()),
            None => format!("{}:{}/{database}", options.get_host(), options.get_port()),
        }
    }
}

impl PostgresBuilder {
    /// A builder from a URL and its options.
    pub(crate) fn from_url(mut url: StoreUrl) -> Result<Self> {
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(Error::invalid(OPERATION, format!("`{}` is not the scheme of a PostgreSQL store", url.scheme()))
                .hint("write postgres://user:password@host:5432/database"));
        }
        let options = driver_options(url.rest())?;
        let mut builder = Self {
            connect: Address(options.application_name("replay").disable_statement_logging()),
            schema: "replay".to_owned(),
            namespace: url.take_namespace()?,
            clock: Arc::new(SystemClock),
            tls: None,
            ca_file: None,
            pooler: Pooler::default(),
            creates: !url.must_exist(),
            migrates: true,
            limits: Limits {
                max_connections: 10,
                acquire: Duration::from_secs(30),
                connect: Duration::from_secs(5),
                response: Duration::from_secs(10),
                idle: Duration::from_mins(10),
                lifetime: Duration::from_mins(30),
            },
        };
        builder.take_options(&mut url)?;
        url.finish()?;
        Ok(builder)
    }

    fn take_options(&mut self, url: &mut StoreUrl) -> Result<()> {
        if let Some(name) = url.take("schema") {
            self.schema = name;
        }
        if let Some(text) = url.take("sslmode") {
            let words = [
                ("disable", Tls::Disable),
                ("prefer", Tls::Prefer),
                ("require", Tls::Require),
                ("verify-ca", Tls::VerifyCa),
                ("verify-full", Tls::VerifyFull),
            ];
            self.tls = Some(word("sslmode", &text, &words)?);
        }
        self.ca_file = url.take("sslrootcert").map(PathBuf::from);
        if let Some(text) = url.take("pooler") {
            let words = [("none", Pooler::None), ("transaction", Pooler::Transaction), ("prepared", Pooler::Prepared)];
            self.pooler = word("pooler", &text, &words)?;
        }
        let words = [("true", true), ("false", false)];
        if let Some(text) = url.take("create") {
            self.creates = word("create", &text, &words)?;
        }
        if let Some(text) = url.take("migrate") {
            self.migrates = word("migrate", &text, &words)?;
        }
        if let Some(text) = url.take("max_connections") {
            self.limits.max_connections = number("max_connections", &text)?;
        }
        let mut millis = |key, limit: &mut Duration| -> Result<()> {
            if let Some(text) = url.take(key) {
                *limit = Duration::from_millis(number(key, &text)?.into());
            }
            Ok(())
        };
        millis("acquire_timeout_ms", &mut self.limits.acquire)?;
        millis("connect_timeout_ms", &mut self.limits.connect)?;
        millis("timeout_ms", &mut self.limits.response)?;
        millis("idle_timeout_ms", &mut self.limits.idle)?;
        millis("max_lifetime_ms", &mut self.limits.lifetime)
    }

    /// Sets the schema that holds the tables; by default `replay`. It is made if it is not there.
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = schema.into();
        self
    }

    /// Sets the namespace that the store sees; by default `default`.
    pub fn namespace(mut self, namespace: Namespace) -> Self {
        self.namespace = namespace;
        self
    }

    /// Sets the clock that cells expire by and log entries are stamped with; by default the system's.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Sets how connections are encrypted; by default what `PGSSLMODE` says, else [`Tls::VerifyFull`] if there is a
    /// [`ca_file`](Self::ca_file), else [`Tls::Prefer`].
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Sets the file with the certificates, in PEM, of the authorities that [`Tls::VerifyCa`] and [`Tls::VerifyFull`] trust; by default
    /// what `PGSSLROOTCERT` says, else the system's. With another [`tls`](Self::tls), which would not look at it, opening fails.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(path.into());
        self
    }

    /// Sets what is between the store and the server; by default nothing.
    pub fn pooler(mut self, pooler: Pooler) -> Self {
        self.pooler = pooler;
        self
    }

    /// Sets whether the schema, its tables and the namespace are made if they are not there; by default they are.
    pub fn create(mut self, creates: bool) -> Self {
        self.creates = creates;
        self
    }

    /// Sets whether older tables are migrated, and new ones made, which takes more rights than using them; by default they are.
    pub fn migrate(mut self, migrates: bool) -> Self {
        self.migrates = migrates;
        self
    }

    /// Sets how many connections there are at most; by default 10, at least 1.
    pub fn max_connections(mut self, count: u32) -> Self {
        self.limits.max_connections = count;
        self
    }

    /// Sets how long a call waits for a free connection; by default 30 s.
    pub fn acquire_timeout(mut self, limit: Duration) -> Self {
        self.limits.acquire = limit;
        self
    }

    /// Sets how long making a connection may take; by default 5 s.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.limits.connect = limit;
        self
    }

    /// Sets how long the answer to a statement may take; by default 10 s. Without a [pooler](Self::pooler) the server is told to end it
    /// somewhat sooner, so that what became of it is known.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.limits.response = limit;
        self
    }

    /// Sets after how long an idle connection is closed; by default 10 min.
    pub fn idle_timeout(mut self, limit: Duration) -> Self {
        self.limits.idle = limit;
        self
    }

    /// Sets after how long a connection is closed in any case, once it is idle; by default 30 min.
    pub fn max_lifetime(mut self, limit: Duration) -> Self {
        self.limits.lifetime = limit;
        self
    }

    /// Connects, and makes or migrates the tables if that is needed.
    ///
    /// # Errors
    /// - `Invalid`: a schema name that is none, a `ca_file` where certificates are not checked, a database that does not keep UTF-8.
    /// - `NewerVersion`: a later version of replay migrated the tables to what this one cannot use.
    /// - `PermissionDenied`: a wrong user or password, a missing privilege.
    /// - `Unavailable`: no server there, no such database, no encrypted connection; no tables, and `create` or `migrate` is off.
    /// - `Timeout`: the server does not answer.
    pub async fn open(self) -> Result<Postgres> {
        check_schema(&self.schema)?;
        let place = self.connect.place();
        let at = |error: Error| error.with("server", &place);
        let options = self.connection_options().map_err(at)?;
        let pool = Pool::new(options, self.pooler, self.limits);
        schema::prepare(&pool, &self.schema, self.creates, self.migrates).await.map_err(at)?;
        let sql = Statements::new(&self.schema);
        let shared = Shared::new(pool, sql, self.namespace, self.clock, place.clone());
        shared.find_namespace(OPERATION, self.creates).await.map_err(at)?;
        Ok(Postgres::from_shared(shared))
    }

    fn connection_options(&self) -> Result<PgConnectOptions> {
        let mut options = self.connect.0.clone();
        let environment = Environment {
            mode: std::env::var_os("PGSSLMODE").map(|_| options.get_ssl_mode()),
            has_ca: std::env::var_os("PGSSLROOTCERT").is_some(),
        };
        options = options.ssl_mode(ssl_mode(self.tls, self.ca_file.is_some(), environment)?);
        if let Some(file) = &self.ca_file {
            options = options.ssl_root_cert(file);
        }
        Ok(match self.pooler {
            // The server's limit comes first, so that a statement that takes too long is known to be undone.
            Pooler::None => {
                let limit = self.limits.response.mul_f64(0.9).as_millis().max(1);
                // Plans are kept, and one that was made for tables without rows would read them from end to end ever after.
                options.options([("statement_timeout", limit.to_string()), ("enable_seqscan", "off".to_owned())])
            }
            // Such poolers refuse what they do not know when a session begins.
            Pooler::Prepared => options.extra_float_digits(None),
            Pooler::Transaction => options.extra_float_digits(None).statement_cache_capacity(0),
        })
    }
}

/// What a URL without its options says to the driver.
fn driver_options(rest: &str) -> Result<PgConnectOptions> {
    let server = rest.trim_start_matches('/');
    if let Some(end) = server.find(['/', '#'])
        && server.rfind('@').is_some_and(|at| at > end)
    {
        // Else a part of the password would be taken for the port or the database, which are shown.
        return Err(Error::invalid(OPERATION, "it has a `/` or `#` before an `@`")
            .hint("write `/` as %2F and `#` as %23 in a user or a password, and `@` as %40 in a database's name"));
    }
    let parse =
        |text: String| PgConnectOptions::from_str(&text).map_err(|failure| Failure::Connect(failure).into_error(OPERATION, Access::Read));
    let options = parse(format!("postgres:{rest}"))?;
    match options.get_host().strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        // An address of IPv6, which the driver takes as an option only; it then also finds it in `.pgpass`.
        Some(address) => parse(format!("postgres:{rest}?host={address}")),
        None => Ok(options),
    }
}

/// What the environment says about encryption.
#[derive(Debug, Clone, Copy, Default)]
struct Environment {
    mode: Option<PgSslMode>,
    has_ca: bool,
}

/// The driver's mode. It checks no certificate in those before `verify-ca`, whatever authorities are given.
fn ssl_mode(tls: Option<Tls>, has_ca_file: bool, environment: Environment) -> Result<PgSslMode> {
    let given = tls.map(|tls| match tls {
        Tls::Disable => PgSslMode::Disable,
        Tls::Prefer => PgSslMode::Prefer,
        Tls::Require => PgSslMode::Require,
        Tls::VerifyCa => PgSslMode::VerifyCa,
        Tls::VerifyFull => PgSslMode::VerifyFull,
    });
    match given.or(environment.mode) {
        Some(mode @ (PgSslMode::VerifyCa | PgSslMode::VerifyFull)) => Ok(mode),
        None if has_ca_file => Ok(PgSslMode::VerifyFull),
        Some(_) if has_ca_file => Err(Error::invalid(OPERATION, "authorities are given, but certificates are not checked")
            .hint("set `sslmode=verify-full`, or leave out the file given as `sslrootcert`")),
        // As for PostgreSQL's own tools.
        Some(PgSslMode::Require) if environment.has_ca => Ok(PgSslMode::VerifyCa),
        mode => Ok(mode.unwrap_or(PgSslMode::Prefer)),
    }
}

fn number(option: &str, text: &str) -> Result<u32> {
    text.parse().map_err(|_| Error::invalid(OPERATION, format!("{option} is not a whole number: `{text}`")))
}

fn check_schema(name: &str) -> Result<()> {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let is_legal = name.len() <= 63 && name.chars().all(is_word) && name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    if is_legal && !name.starts_with("pg_") {
        return Ok(());
    }
    Err(Error::invalid(OPERATION, format!("`{name}` is not a name for a schema"))
        .hint("use up to 63 lower-case letters, digits and underscores, the first no digit"))
}

#[cfg(test)]
mod tests;
