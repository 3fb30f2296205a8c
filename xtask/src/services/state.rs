//! What `services up` has started, as files that outlive it.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use replay_services::fleet::Running;
use replay_services::{Service, identity, private};
use serde_json::{Value, json};

use crate::shell::{self, Failure, Outcome};

/// How long a server and its folder may take to be gone.
const GONE: Duration = Duration::from_secs(15);

/// The folder of this user and this workspace; a file in it for each server, with its password, so nobody else may look.
pub(super) struct Home(PathBuf);

impl Home {
    pub(super) fn open() -> Outcome<Self> {
        let mut hasher = DefaultHasher::new();
        // The supervisors that are written down in it are known by their process ids.
        (shell::root(), identity::scope()).hash(&mut hasher);
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_dir());
        let parent = runtime.unwrap_or_else(std::env::temp_dir);
        let path = parent.join(format!("replay-services-{}-{:08x}", private::user(), hasher.finish() & 0xffff_ffff));
        private::folder(&path).map_err(|error| Failure::new(error.to_string()))?;
        Ok(Self(path))
    }

    /// Held by whoever starts or ends servers.
    pub(super) fn lock(&self) -> Outcome<File> {
        private::lock(&self.0.join("lock")).map_err(|error| Failure::new(error.to_string()))
    }

    pub(super) fn log(&self, service: Service) -> PathBuf {
        self.0.join(format!("{}.log", service.name()))
    }

    fn file(&self, service: Service) -> PathBuf {
        self.0.join(format!("{}.json", service.name()))
    }

    /// What is written about `service`, if its supervisor lives.
    pub(super) fn running(&self, service: Service) -> Option<Held> {
        let text = fs::read_to_string(self.file(service)).ok()?;
        let held = Held::from_json(service, &serde_json::from_str(&text).ok()?)?;
        identity::is_alive(held.pid, &held.start).then_some(held)
    }

    /// Writes it in one act, for whoever waits for it.
    pub(super) fn write(&self, held: &Held) -> Outcome {
        let (path, new) = (self.file(held.service), self.0.join(format!("{}.new", held.service.name())));
        let written = fs::write(&new, held.to_json().to_string()).and_then(|()| fs::rename(&new, &path));
        written.map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))
    }

    pub(super) fn forget(&self, service: Service) {
        let _ = fs::remove_file(self.file(service));
        let _ = fs::remove_file(self.log(service));
    }
}

/// One server, as its supervisor wrote it down.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) service: Service,
    /// The supervisor.
    pub(super) pid: u32,
    pub(super) start: String,
    pub(super) url: String,
    pub(super) origin: String,
    /// The server's processes.
    pub(super) pids: Vec<u32>,
    pub(super) dir: PathBuf,
}

impl Held {
    /// `running` as held by this process.
    pub(super) fn of(running: &Running) -> Outcome<Self> {
        let pid = std::process::id();
        let start = identity::start_of(pid).ok_or_else(|| Failure::new("cannot find out when this process started"))?;
        Ok(Self {
            service: running.service,
            pid,
            start,
            url: running.url.clone(),
            origin: running.origin.clone(),
            pids: running.pids(),
            dir: running.dir().map(ToOwned::to_owned).unwrap_or_default(),
        })
    }

    fn to_json(&self) -> Value {
        json!({
            "pid": self.pid, "start": self.start, "url": self.url, "origin": self.origin,
            "pids": self.pids, "dir": self.dir.to_string_lossy(),
        })
    }

    fn from_json(service: Service, value: &Value) -> Option<Self> {
        let number = |value: &Value| u32::try_from(value.as_u64()?).ok();
        let text = |name: &str| value[name].as_str().map(ToOwned::to_owned);
        Some(Self {
            service,
            pid: number(&value["pid"])?,
            start: text("start")?,
            url: text("url")?,
            origin: text("origin")?,
            pids: value["pids"].as_array()?.iter().map(number).collect::<Option<_>>()?,
            dir: text("dir")?.into(),
        })
    }

    /// Waits until nothing of it is left.
    pub(super) fn wait_until_gone(&self) -> Outcome {
        let started = Instant::now();
        while identity::is_alive(self.pid, &self.start) || self.dir.exists() {
            if started.elapsed() > GONE {
                return Err(Failure::new(format!("{} does not end; its folder is {}", self.service.name(), self.dir.display())));
            }
            pause();
        }
        Ok(())
    }
}

#[expect(clippy::disallowed_methods, reason = "waits for processes, which know no clock of ours")]
pub(super) fn pause() {
    thread::sleep(Duration::from_millis(10));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_read() {
        let held = Held {
            service: Service::RedisCluster,
            pid: 7,
            start: "99".to_owned(),
            url: "redis+cluster://127.0.0.1:1,127.0.0.1:2".to_owned(),
            origin: "native, Redis 7".to_owned(),
            pids: vec![8, 9],
            dir: "/tmp/replay-svc-7".into(),
        };
        assert_eq!(Held::from_json(Service::RedisCluster, &held.to_json()), Some(held));
        assert_eq!(Held::from_json(Service::Redis, &json!({"pid": "7"})), None);
    }
}
