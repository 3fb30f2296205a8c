//! Free ports of the loopback interface.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::TcpListener;
use std::ops::Range;

use crate::error::{Error, Result};

/// Below where systems take the local ports of outgoing connections from: a server that is down for a moment would find its port taken.
/// Redis Cluster talks on a port that is 10,000 higher, which has to lie below as well.
const PORTS: Range<u16> = 11_000..22_000;
/// How far above its port a node of a Redis Cluster talks to the others.
pub(crate) const BUS: u16 = 10_000;

/// `count` ports that were free a moment ago, each together with that of the cluster bus.
pub(crate) fn free(count: usize) -> Result<Vec<u16>> {
    let mut found = Vec::with_capacity(count);
    let span = u64::from(PORTS.end - PORTS.start);
    for _ in 0..1_000 {
        if found.len() == count {
            return Ok(found);
        }
        let port = PORTS.start + u16::try_from(random() % span).unwrap_or_default();
        let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if !found.contains(&port) && is_free(port) && is_free(port + BUS) {
            found.push(port);
        }
    }
    Err(Error::new(format!("there are no free ports between {} and {}", PORTS.start, PORTS.end)))
}

/// A random number. The standard library seeds the keys of its hash maps from the system, and offers no other way.
pub(crate) fn random() -> u64 {
    RandomState::new().hash_one(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_distinct_and_can_be_listened_on() {
        let ports = free(3).unwrap();
        let held: Vec<TcpListener> = ports.iter().map(|&port| TcpListener::bind(("127.0.0.1", port)).unwrap()).collect();
        assert_eq!(held.len(), 3);
        assert!(ports.iter().all(|port| PORTS.contains(port)));
    }
}
