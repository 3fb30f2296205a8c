//! Redis: alone, with TLS and users, or as a cluster of three nodes.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::port::{BUS, random};
use crate::probe::Probe;
use crate::process::Launch;
use crate::server::Plan;
use crate::user::{self, User};
use crate::{install, tls};

pub use crate::server::Server;

/// What kind of Redis to start; by default one alone, without TLS or users, that keeps everything in memory.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct Options {
    append_fsync: Option<Fsync>,
    tls: bool,
    cluster: bool,
    settings: Vec<(String, String)>,
}

/// When Redis has its append-only file synchronised (`appendfsync`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fsync {
    /// Before every answer.
    Always,
    /// Once a second.
    EverySec,
    /// Whenever the system does it; the file survives the death of the server, not that of the machine.
    No,
}

impl Options {
    /// With `true`, what was acknowledged survives SIGKILL and restart (`appendonly yes`, `appendfsync always`); with `false`, the
    /// default, nothing is written to disk.
    pub fn durable(mut self, durable: bool) -> Self {
        self.append_fsync = durable.then_some(Fsync::Always);
        self
    }

    /// Keeps an append-only file that is synchronised as `fsync` says.
    pub fn append_fsync(mut self, fsync: Fsync) -> Self {
        self.append_fsync = Some(fsync);
        self
    }

    /// Speaks only TLS (certificate of [`tls::ca`]), and knows only the user `replay`, which has a password and no
    /// dangerous or administrative commands but `INFO`.
    pub fn tls(mut self, tls: bool) -> Self {
        self.tls = tls;
        self
    }

    /// Three nodes that share the slots, without replicas.
    pub fn cluster(mut self, cluster: bool) -> Self {
        self.cluster = cluster;
        self
    }

    /// Further settings of `redis.conf`, such as `("maxmemory", "4mb")`; they win over ours.
    pub fn settings(mut self, settings: &[(&str, &str)]) -> Self {
        self.settings.extend(settings.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())));
        self
    }
}

/// Starts Redis and waits until it answers, a cluster until all nodes agree that it works (about 2.5 s).
///
/// URL: `redis://127.0.0.1:PORT/0`; with TLS `rediss://replay:PASSWORD@localhost:PORT/0?ca=FILE`; of a cluster
/// `redis+cluster://127.0.0.1:PORT,127.0.0.1:PORT,127.0.0.1:PORT`.
///
/// # Errors
/// If there is no Redis and it cannot be installed, or if it does not answer within 30 s.
#[expect(clippy::needless_pass_by_value, reason = "options are made for one call")]
pub fn start(options: Options) -> Result<Server> {
    if options.tls && options.cluster {
        return Err(Error::new("a Redis Cluster with TLS is not offered; start the one or the other"));
    }
    let program = install::redis()?;
    let version = install::version(&program);
    let folder = Folder::create("redis")?;
    let user = user::unprivileged(folder.path(), &["redis", "nobody"])?;
    let count = if options.cluster { NODES } else { 1 };
    let password = format!("{:016x}", random());
    if options.tls {
        tls::install(folder.path(), user)?;
        write(&folder.path().join(USERS), &users(&password), user)?;
    }
    let plan = |folder: &Folder, ports: &[u16], index: usize| {
        let port = ports[index];
        let data = folder.path().join(format!("data-{port}"));
        fs::create_dir_all(&data).map_err(Error::of("cannot make the folder of Redis's data"))?;
        if let Some(user) = user {
            user.own(&data)?;
        }
        if options.cluster {
            write(&data.join(TOPOLOGY), &topology(ports, index), user)?;
        }
        let launch = Launch {
            program: program.clone(),
            args: arguments(&options, port, folder.path()).into_iter().map(Into::into).collect(),
            env: Vec::new(),
            dir: data.clone(),
            log: folder.path().join(format!("{port}.log")),
            user,
            end: "TERM",
        };
        let probe = match (options.cluster, options.tls) {
            (true, _) => Probe::RedisCluster,
            (_, true) => Probe::RedisSocket(data.join(SOCKET), format!("AUTH {USER} {password}")),
            _ => Probe::Redis,
        };
        Ok(Plan { launch, probe })
    };
    let ca = tls::ca()?;
    let (is_cluster, is_tls) = (options.cluster, options.tls);
    Server::start(folder, version, count, plan, |ports| match (is_cluster, is_tls) {
        (true, _) => cluster_url(ports),
        (_, true) => format!("rediss://{USER}:{password}@127.0.0.1:{}/0?ca={}", ports[0], tls::in_url(&ca)),
        _ => format!("redis://127.0.0.1:{}/0", ports[0]),
    })
}

const NODES: usize = 3;
const SLOTS: usize = 16_384;
pub(crate) const USER: &str = "replay";
/// Files in the folder of a node's data, where it starts.
const TOPOLOGY: &str = "nodes.conf";
const SOCKET: &str = "redis.sock";
/// The list of users, beside the data.
const USERS: &str = "users.acl";

fn arguments(options: &Options, port: u16, folder: &Path) -> Vec<String> {
    let mut settings: Vec<(String, String)> = Vec::new();
    let mut set = |name: &str, value: &str| settings.push((name.to_owned(), value.to_owned()));
    set("bind", "127.0.0.1");
    set("save", "");
    let append = options.append_fsync.map(|fsync| match fsync {
        Fsync::Always => "always",
        Fsync::EverySec => "everysec",
        Fsync::No => "no",
    });
    set("appendonly", if append.is_some() { "yes" } else { "no" });
    set("appendfsync", append.unwrap_or("no"));
    let port = port.to_string();
    if options.tls {
        let file = |name: &str| folder.join(name).display().to_string();
        set("port", "0");
        set("tls-port", &port);
        set("tls-cert-file", &file(tls::CERTIFICATE));
        set("tls-key-file", &file(tls::KEY));
        set("tls-ca-cert-file", &file(tls::CA));
        set("tls-auth-clients", "no");
        set("aclfile", &file(USERS));
        set("unixsocket", SOCKET);
    } else {
        set("port", &port);
    }
    if options.cluster {
        set("cluster-enabled", "yes");
        set("cluster-config-file", TOPOLOGY);
        set("cluster-node-timeout", "2000");
        set("cluster-announce-ip", "127.0.0.1");
    }
    settings.extend(options.settings.iter().cloned());
    settings.into_iter().flat_map(|(name, value)| [format!("--{name}"), value]).collect()
}

/// What a node of the cluster would know if the nodes had met: so they need not be introduced to each other.
fn topology(ports: &[u16], myself: usize) -> String {
    let mut text = String::new();
    for (index, port) in ports.iter().enumerate() {
        let epoch = index + 1;
        let id = format!("{epoch:040x}");
        let role = if index == myself { "myself,master" } else { "master" };
        let slots = SLOTS * index / ports.len()..SLOTS * (index + 1) / ports.len();
        let _ = writeln!(text, "{id} 127.0.0.1:{port}@{} {role} - 0 0 {epoch} connected {}-{}", port + BUS, slots.start, slots.end - 1);
    }
    let _ = writeln!(text, "vars currentEpoch {} lastVoteEpoch 0", ports.len());
    text
}

pub(crate) fn cluster_url(ports: &[u16]) -> String {
    let hosts: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    format!("redis+cluster://{}", hosts.join(","))
}

/// What starts a node of a cluster in the background, in a container and for a shell.
pub(crate) fn contained_node(ports: &[u16], index: usize) -> String {
    let (port, topology) = (ports[index], topology(ports, index));
    let folder = format!("/data/{port}");
    let cluster =
        format!("--cluster-enabled yes --cluster-config-file {TOPOLOGY} --cluster-node-timeout 2000 --cluster-announce-ip 127.0.0.1");
    format!(
        "mkdir {folder}; printf '%s' '{topology}' >{folder}/{TOPOLOGY}; redis-server --port {port} --dir {folder} --save '' {cluster} & "
    )
}

/// What a careful operator would allow a program that stores data: everything but what administers or looks at everybody's keys.
pub(crate) fn users(password: &str) -> String {
    format!("user default off\nuser {USER} on >{password} ~* &* +@all -@admin -@dangerous +info\n")
}

/// Writes a file that only `user` can read.
fn write(path: &Path, text: &str, user: Option<User>) -> Result<()> {
    let doing = || format!("cannot write {}", path.display());
    fs::write(path, text).map_err(Error::of(doing()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(Error::of(doing()))?;
    user.map_or(Ok(()), |user| user.own(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nodes_of_a_cluster_share_all_slots() {
        let text = topology(&[11_000, 11_001, 11_002], 1);
        let slots: Vec<&str> = text.lines().filter_map(|line| line.split("connected ").nth(1)).collect();
        assert_eq!(slots, ["0-5460", "5461-10921", "10922-16383"]);
        assert_eq!(text.lines().filter(|line| line.contains("myself")).count(), 1);
    }

    #[test]
    fn settings_of_the_caller_come_last_and_win() {
        let options = Options::default().append_fsync(Fsync::EverySec).settings(&[("appendonly", "no")]);
        let arguments = arguments(&options, 11_000, Path::new("/f")).join(" ");
        assert!(arguments.contains("--appendonly yes --appendfsync everysec"), "{arguments}");
        assert!(arguments.ends_with("--appendonly no"), "{arguments}");
    }
}
