//! The fixed test certificates of `fixtures/tls`.

use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::server::fixture;
use crate::user::User;

pub(crate) const CA: &str = "ca.crt";
pub(crate) const CERTIFICATE: &str = "server.crt";
pub(crate) const KEY: &str = "server.key";

/// The certificate of the authority that signed the servers' certificate, which is for `localhost` and 127.0.0.1.
///
/// # Errors
/// If the file is not there.
pub fn ca() -> Result<PathBuf> {
    fixture("tls/ca.crt")
}

/// The certificate of an authority that has signed nothing, for tests of what is refused.
///
/// # Errors
/// If the file is not there.
pub fn other_ca() -> Result<PathBuf> {
    fixture("tls/other-ca.crt")
}

/// Copies what a server needs into `folder`, the key so that only the server can read it: servers refuse others.
pub(crate) fn install(folder: &Path, user: Option<User>) -> Result<()> {
    for name in [CA, CERTIFICATE, KEY] {
        let to = folder.join(name);
        let doing = || format!("cannot write {}", to.display());
        fs::copy(fixture("tls")?.join(name), &to).map_err(Error::of(doing()))?;
        fs::set_permissions(&to, Permissions::from_mode(if name == KEY { 0o600 } else { 0o644 })).map_err(Error::of(doing()))?;
        if let Some(user) = user {
            user.own(&to)?;
        }
    }
    Ok(())
}

/// A path as the value of an option in a URL.
pub(crate) fn in_url(path: &Path) -> String {
    let mut text = String::new();
    for &byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_spaces_stays_one_option() {
        assert_eq!(in_url(Path::new("/a b/c&d.crt")), "/a%20b/c%26d.crt");
    }
}
