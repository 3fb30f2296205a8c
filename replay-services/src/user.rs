//! Whom servers run as.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

use crate::error::{Error, Result};

/// A user of the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl User {
    /// Hands `path` over to this user.
    pub(crate) fn own(self, path: &Path) -> Result<()> {
        chown(path, Some(self.uid), Some(self.gid)).map_err(Error::of(format_args!("cannot hand over {}", path.display())))
    }
}

/// The user that a server in `folder` has to run as: the first of `names` that the system has if we are root (servers refuse to run as
/// root, or should not), else ourselves.
pub(crate) fn unprivileged(folder: &Path, names: &[&str]) -> Result<Option<User>> {
    let ours = fs::metadata(folder).map_err(Error::of(format_args!("cannot look at {}", folder.display())))?;
    if ours.uid() != 0 {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").map_err(Error::of("cannot read the list of users"))?;
    let found = names.iter().find_map(|name| lookup(&users, name));
    found.map(Some).ok_or_else(|| Error::new(format!("root may not run this server, and the system has no user {}", names.join(" or "))))
}

fn lookup(users: &str, name: &str) -> Option<User> {
    let mut fields = users.lines().map(|line| line.split(':')).find_map(|mut line| (line.next() == Some(name)).then_some(line))?;
    let uid = fields.nth(1)?.parse().ok()?;
    Some(User { uid, gid: fields.next()?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_their_whole_name() {
        let users = "root:x:0:0:root:/root:/bin/sh\nnobody2:x:7:7::/:/bin/sh\nnobody:x:65534:65533:nobody:/:/bin/false\n";
        assert_eq!(lookup(users, "nobody"), Some(User { uid: 65534, gid: 65533 }));
        assert_eq!(lookup(users, "postgres"), None);
    }
}
