//! Folders and files that nobody else has a hand in, also where everybody may write.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use crate::error::{Error, Result};

/// Has a folder at `path` that only this user may look into; its parent has to be there.
///
/// Names in a folder that everybody may write to can be taken before us, also by a link to something else of this user's. Therefore what
/// is found is opened without following a link, and what was opened is checked before it is changed.
///
/// # Errors
/// If it cannot be made, or what is there is no folder, belongs to somebody else, or could be written to by everybody.
pub fn folder(path: &Path) -> Result<()> {
    let shown = path.display();
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(Error::of(format_args!("cannot make {shown}"))(error)),
        _ => {}
    }
    let folder = open(OpenOptions::new().read(true), OFlags::DIRECTORY, path)?;
    let found = folder.metadata().map_err(Error::of(format_args!("cannot look at {shown}")))?;
    if found.uid() != user() {
        return Err(Error::new(format!("{shown} belongs to somebody else; remove it")));
    }
    if found.mode() & 0o002 != 0 {
        return Err(Error::new(format!("everybody may write to {shown}, so what it holds is not to be trusted; remove it")));
    }
    if found.mode() & 0o077 != 0 {
        folder.set_permissions(Permissions::from_mode(0o700)).map_err(Error::of(format_args!("cannot close {shown} to others")))?;
    }
    Ok(())
}

/// The user whose files these are.
pub fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Takes the lock that the file at `path` is, made if need be and never cut short; waits for whoever has it. It is given back when the
/// file is dropped.
///
/// # Errors
/// If it cannot be opened or locked, or is a link or anything else but a file.
pub fn lock(path: &Path) -> Result<File> {
    let shown = path.display();
    let file = open(OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600), OFlags::empty(), path)?;
    if !file.metadata().is_ok_and(|found| found.is_file()) {
        return Err(Error::new(format!("{shown} is no file; remove it")));
    }
    file.lock().map_err(Error::of(format_args!("cannot lock {shown}")))?;
    Ok(file)
}

/// Opens what is at `path` itself, and not what it leads to.
fn open(options: &mut OpenOptions, flags: OFlags, path: &Path) -> Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | flags;
    options.custom_flags(flags.bits().cast_signed()).open(path).map_err(Error::of(format_args!("cannot use {}", path.display())))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use super::*;

    struct Temporary(PathBuf);

    impl Temporary {
        fn new() -> Self {
            let path = std::env::temp_dir().join(format!("replay-private-{:016x}", crate::port::random()));
            fs::create_dir(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Temporary {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_folder_is_made_for_this_user_alone_or_closed_to_others() {
        let temporary = Temporary::new();
        let path = temporary.0.join("folder");
        folder(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
        set_mode(&path, 0o755);
        folder(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
        set_mode(&path, 0o777);
        assert!(folder(&path).unwrap_err().to_string().contains("everybody may write"));
    }

    #[test]
    fn a_link_in_the_place_of_a_folder_is_refused_and_its_target_untouched() {
        let temporary = Temporary::new();
        let (target, link) = (temporary.0.join("target"), temporary.0.join("link"));
        fs::create_dir(&target).unwrap();
        set_mode(&target, 0o755);
        symlink(&target, &link).unwrap();
        folder(&link).unwrap_err();
        assert_eq!(mode(&target), 0o755);
    }

    #[test]
    fn a_lock_is_kept_as_it_is_and_never_taken_through_a_link() {
        let temporary = Temporary::new();
        let (path, link) = (temporary.0.join("lock"), temporary.0.join("link"));
        fs::write(&path, "precious").unwrap();
        let held = lock(&path).unwrap();
        assert!(File::open(&path).unwrap().try_lock().is_err());
        drop(held);
        symlink(&path, &link).unwrap();
        lock(&link).unwrap_err();
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        lock(&temporary.0).unwrap_err();
    }
}
