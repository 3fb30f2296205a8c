//! Where programs are.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The program `name` on `PATH`.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(name)).find(|path| is_program(path))
}

/// The first of `names` on `PATH` or where servers are installed that users are not expected to run.
pub(crate) fn program(names: &[&str]) -> Option<PathBuf> {
    const FOLDERS: [&str; 5] = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/opt/homebrew/bin"];
    let elsewhere = |name: &&str| FOLDERS.iter().map(|folder| Path::new(folder).join(name)).find(|path| is_program(path));
    names.iter().find_map(|name| on_path(name)).or_else(|| names.iter().find_map(elsewhere))
}

/// The folder with PostgreSQL's server programs: that on `PATH`, else the newest of those that distributions keep apart.
pub(crate) fn postgres() -> Option<PathBuf> {
    let is_whole = |folder: &PathBuf| is_program(&folder.join("initdb")) && is_program(&folder.join("postgres"));
    let on_path = on_path("postgres").and_then(|path| path.parent().map(Path::to_owned)).filter(is_whole);
    on_path.or_else(|| {
        const PARENTS: [(&str, &str); 4] =
            [("/usr/lib/postgresql", "bin"), ("/usr", "bin"), ("/opt/homebrew/opt", "bin"), ("/usr/local/opt", "bin")];
        let versions = PARENTS.iter().flat_map(|(parent, bin)| versions(Path::new(parent), bin));
        versions.filter(|(_, folder)| is_whole(folder)).max_by_key(|(version, _)| *version).map(|(_, folder)| folder)
    })
}

/// Folders such as `15` (Debian), `pgsql-16` (Red Hat) and `postgresql@17` (Homebrew) in `parent`, by version.
fn versions(parent: &Path, bin: &str) -> Vec<(u32, PathBuf)> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let found = entries.filter_map(|entry| {
        let name = entry.file_name();
        let version = name.to_str()?.trim_start_matches("pgsql-").trim_start_matches("postgresql@").parse().ok()?;
        Some((version, entry.path().join(bin)))
    });
    found.collect()
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_and_one_that_is_not_there_is_not() {
        assert!(on_path("sh").is_some());
        assert!(program(&["no-such-server", "sh"]).is_some());
        assert_eq!(program(&["no-such-server"]), None);
    }
}
