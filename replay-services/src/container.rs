//! Servers in containers, where an engine answers.
//!
//! The command lines are tested as data. They were written on a machine without an engine and have not been run against one.

use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::{Error, Result};
use crate::fleet::Service;
use crate::folder::{Folder, tail};
use crate::identity;
use crate::port::{self, random};
use crate::probe::Probe;
use crate::redis;
use crate::server::fixture;
use crate::{s3, tls, wait};

const COMPOSE: &str = include_str!("../../fixtures/compose/compose.yaml");
/// Carried by every container: host, process id and start time of its owner.
const LABEL: &str = "replay-test";
/// Where the certificates are in a container.
const CERTIFICATES: &str = "/tls";

/// A container engine that answers.
#[derive(Debug, Clone)]
pub struct Engine(&'static str);

impl Engine {
    /// The first of docker and podman whose engine answers within 3 s; that the command is there says nothing.
    pub fn find() -> Option<Self> {
        ["docker", "podman"].into_iter().map(Self).find(Self::answers)
    }

    fn answers(&self) -> bool {
        let mut command = Command::new(self.0);
        command.args(["version", "--format", "{{.Server.Version}}"]);
        let Ok(mut child) = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn() else { return false };
        let status = wait::until(wait::ENGINE, "an engine's answer", || child.try_wait().map_err(Error::of("docker")));
        if status.is_err() {
            let _ = child.kill();
            let _ = child.wait();
        }
        status.is_ok_and(|status| status.success())
    }

    fn run(&self, args: &[String]) -> Result<String> {
        let output = Command::new(self.0).args(args).stdin(Stdio::null()).output().map_err(Error::of(self.0))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
        }
        Err(Error::new(format!("{} {}: {}", self.0, args[0], String::from_utf8_lossy(&output.stderr).trim())))
    }

    /// Removes the containers whose owner, a process of this host, is gone.
    fn sweep(&self) -> Result<()> {
        let format = format!("{{{{.ID}}}} {{{{.Label \"{LABEL}\"}}}}");
        let list = self.run(&words(&["ps", "--all", "--filter", &format!("label={LABEL}"), "--format", &format]))?;
        for id in abandoned(&list, &host(), identity::is_alive) {
            self.run(&words(&["rm", "--force", "--volumes", id]))?;
        }
        Ok(())
    }
}

/// A running container, removed when dropped or when its owner is gone.
#[derive(Debug)]
pub(crate) struct Container {
    url: String,
    image: &'static str,
    folder: Folder,
}

impl Container {
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn image(&self) -> &str {
        self.image
    }

    pub(crate) fn dir(&self) -> &Path {
        self.folder.path()
    }
}

/// How to run a service in a container.
#[derive(Debug)]
struct Plan {
    image: &'static str,
    /// What stands before the image.
    options: Vec<String>,
    /// What stands behind it.
    command: Vec<String>,
    /// The port on 127.0.0.1 that is asked, and how.
    ready: (u16, Probe),
    url: String,
}

/// Runs `service` in a container and waits until it answers.
pub(crate) fn start(engine: &Engine, service: Service) -> Result<Container> {
    engine.sweep()?;
    let folder = Folder::create("container")?;
    let plan = plan(service, &port::free(3)?, &format!("{:016x}", random()), folder.path())?;
    let owner = std::process::id();
    let label = format!("{}.{owner}.{}", host(), identity::start_of(owner).unwrap_or_default());
    let id = engine.run(&command_line(&plan, &label))?;
    folder.list_container(engine.0, &id)?;
    let (port, probe) = &plan.ready;
    let ready = wait::until(wait::READY, "the first answer of a container", || Ok(probe.is_ready(*port, None).then_some(())));
    ready.map_err(|error| {
        let log = folder.path().join("container.log");
        let _ = engine.run(&words(&["logs", &id])).map(|text| fs::write(&log, text));
        Error::new(format!("{error} ({}); its log ends with{}", plan.image, tail(&log)))
    })?;
    Ok(Container { url: plan.url, image: plan.image, folder })
}

fn command_line(plan: &Plan, label: &str) -> Vec<String> {
    let mut line = words(&["run", "--detach", "--rm", "--label", &format!("{LABEL}={label}")]);
    line.extend(plan.options.iter().cloned());
    line.push(plan.image.to_owned());
    line.extend(plan.command.iter().cloned());
    line
}

fn plan(service: Service, ports: &[u16], password: &str, folder: &Path) -> Result<Plan> {
    let publish = |from: u16, to: u16| words(&["--publish", &format!("127.0.0.1:{from}:{to}")]);
    let certificates = || Ok(words(&["--volume", &format!("{}:{CERTIFICATES}:ro", fixture("tls")?.display())]));
    let (port, second) = (ports[0], ports[1]);
    let mut options = publish(port, port);
    Ok(match service {
        Service::Redis => {
            let command = words(&["redis-server", "--port", &port.to_string(), "--save", ""]);
            Plan { image: image("redis")?, options, command, ready: (port, Probe::Redis), url: format!("redis://127.0.0.1:{port}/0") }
        }
        Service::RedisTls => {
            // What has to answer before we are satisfied is asked without TLS, on a port of its own.
            options.extend(publish(second, second));
            options.extend(certificates()?);
            let users = folder.join("users.acl");
            fs::write(&users, redis::users(password)).map_err(Error::of("cannot write the list of users"))?;
            options.extend(words(&["--volume", &format!("{}:/users.acl:ro", users.display())]));
            let file = |name| format!("{CERTIFICATES}/{name}");
            let (tls_port, plain) = (port.to_string(), second.to_string());
            let (certificate, key, ca) = (file(tls::CERTIFICATE), file(tls::KEY), file(tls::CA));
            let listen = ["redis-server", "--port", &plain, "--tls-port", &tls_port, "--save", "", "--tls-auth-clients", "no"];
            let files = ["--tls-cert-file", &certificate, "--tls-key-file", &key, "--tls-ca-cert-file", &ca, "--aclfile", "/users.acl"];
            let url = format!("rediss://{}:{password}@127.0.0.1:{port}/0?ca={}", redis::USER, tls::in_url(&tls::ca()?));
            Plan { image: image("redis")?, options, command: words(&[&listen[..], &files].concat()), ready: (second, Probe::Redis), url }
        }
        Service::RedisCluster => {
            options.extend(ports[1..].iter().flat_map(|&port| publish(port, port)));
            // All nodes in one container, so that they reach each other under the same addresses as clients do.
            let nodes: Vec<String> = (0..ports.len()).map(|index| redis::contained_node(ports, index)).collect();
            let command = words(&["sh", "-c", &format!("{}wait", nodes.concat())]);
            let ready = (ports[ports.len() - 1], Probe::RedisCluster);
            Plan { image: image("redis-cluster")?, options, command, ready, url: redis::cluster_url(ports) }
        }
        Service::Postgres => {
            options = publish(port, 5432);
            options.extend(certificates()?);
            options.extend(words(&["--env", &format!("POSTGRES_PASSWORD={password}"), "--entrypoint", "sh"]));
            // The key has to be the server's own.
            let script = format!(
                "install -o postgres -m 600 {CERTIFICATES}/{} /tmp/server.key && exec docker-entrypoint.sh postgres -c ssl=on \
                 -c ssl_cert_file={CERTIFICATES}/{} -c ssl_key_file=/tmp/server.key -c max_connections=300 \
                 -c fsync=off -c synchronous_commit=off -c full_page_writes=off",
                tls::KEY,
                tls::CERTIFICATE
            );
            let url = format!("postgres://postgres:{password}@127.0.0.1:{port}/postgres");
            Plan { image: image("postgres")?, options, command: words(&["-c", &script]), ready: (port, Probe::Postgres), url }
        }
        Service::S3 => return Err(Error::new("our own S3 server does not come in a container")),
        Service::Moto => {
            options = publish(port, 9000);
            let (user, secret) = (format!("MINIO_ROOT_USER={}", s3::ACCESS_KEY), format!("MINIO_ROOT_PASSWORD={}", s3::SECRET_KEY));
            options.extend(words(&["--env", &user, "--env", &secret, "--entrypoint", "sh"]));
            // To MinIO a folder is a bucket.
            let command = words(&["-c", &format!("mkdir -p /data/{} && exec minio server /data", s3::BUCKET)]);
            Plan { image: image("s3")?, options, command, ready: (port, Probe::Http), url: s3::url(port) }
        }
    })
}

/// The image that the compose file names for a service.
fn image(service: &str) -> Result<&'static str> {
    let heading = format!("  {service}:");
    let lines = COMPOSE.lines().skip_while(|line| *line != heading).skip(1);
    let image = lines.take_while(|line| line.starts_with("    ")).find_map(|line| line.trim_start().strip_prefix("image: "));
    image.ok_or_else(|| Error::new(format!("fixtures/compose/compose.yaml names no image for {service}")))
}

/// The containers of a listing, lines of id and label, whose owner is of `host` and gone.
fn abandoned<'a>(list: &'a str, host: &str, is_alive: impl Fn(u32, &str) -> bool) -> Vec<&'a str> {
    let is_abandoned = |line: &&'a str| {
        let mut owner = line.split(' ').nth(1)?.rsplitn(3, '.');
        let (start, pid, of) = (owner.next()?, owner.next()?.parse().ok()?, owner.next()?);
        Some(of == host && !is_alive(pid, start))
    };
    list.lines().filter(|line| is_abandoned(line) == Some(true)).filter_map(|line| line.split(' ').next()).collect()
}

fn host() -> String {
    let name = fs::read_to_string("/etc/hostname").ok().or_else(|| env::var("HOSTNAME").ok()).unwrap_or_default();
    name.trim().to_owned()
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_image_is_named_in_the_compose_file_by_its_tag() {
        for service in ["postgres", "redis", "redis-cluster", "s3"] {
            let (_, tag) = image(service).unwrap().split_once(':').unwrap();
            assert!(tag != "latest" && !tag.is_empty(), "{service}");
        }
        image("mysql").unwrap_err();
    }

    #[test]
    fn a_container_is_labelled_and_reached_only_from_this_machine() {
        for service in Service::ALL.into_iter().filter(|service| *service != Service::S3) {
            let folder = Folder::create("container").unwrap();
            let plan = plan(service, &[11_000, 11_001, 11_002], "secret", folder.path()).unwrap();
            let line = command_line(&plan, "host.42.7");
            assert_eq!(line[..5], ["run", "--detach", "--rm", "--label", "replay-test=host.42.7"]);
            let published: Vec<&String> = line.windows(2).filter(|pair| pair[0] == "--publish").map(|pair| &pair[1]).collect();
            assert!(!published.is_empty() && published.iter().all(|port| port.starts_with("127.0.0.1:110")), "{line:?}");
            assert!(plan.url.contains(":11000"), "{}", plan.url);
            assert!(published.iter().any(|port| port.starts_with(&format!("127.0.0.1:{}:", plan.ready.0))), "{line:?}");
        }
    }

    #[test]
    fn only_what_belongs_to_a_dead_process_of_this_host_is_swept() {
        let list = "a1 box.local.41.7\nb2 box.local.42.7\nc3 other.41.7\nd4 nonsense\ne5 \n";
        assert_eq!(abandoned(list, "box.local", |pid, start| (pid, start) == (42, "7")), ["a1"]);
    }
}
