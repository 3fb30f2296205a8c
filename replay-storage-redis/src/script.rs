//! The server-side scripts: fixed texts, whatever a caller gives is an argument.

use std::sync::LazyLock;

use redis::{Arg, Cmd};

/// A script and what the server knows it by.
#[derive(Debug)]
pub(crate) struct Script {
    source: &'static str,
    sha: String,
}

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident = $file:literal;)+) => {
        $($(#[$doc])* pub(crate) static $name: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!(concat!("lua/", $file, ".lua"))));)+

        /// All of them.
        static ALL: &[&LazyLock<Script>] = &[$(&$name),+];
    };
}

scripts! {
    APPEND = "append";
    APPEND_LOG = "append_log";
    APPEND_NEXT = "append_next";
    BEFORE = "before";
    DELETE_CELL = "delete_cell";
    DELETE_LOG = "delete_log";
    FORGET = "forget";
    HEADERS = "headers";
    HEADS = "heads";
    INDEX = "index";
    INSTANT = "instant";
    LATEST = "latest";
    POSITIONS = "positions";
    PUT_CELL = "put_cell";
    PUT_PIECE = "put_piece";
    REMOVE = "remove";
    SURVEYS = "surveys";
}

impl Script {
    fn new(source: &'static str) -> Self {
        Self { source, sha: redis::Script::new(source).get_hash().to_owned() }
    }

    /// A call of the script with these keys and room for `bytes` more; its arguments are added to it.
    pub(crate) fn call<'a>(&self, keys: impl IntoIterator<Item = &'a Vec<u8>, IntoIter: ExactSizeIterator>, bytes: usize) -> Cmd {
        let keys = keys.into_iter();
        let mut cmd = Cmd::with_capacity(keys.len() + 16, bytes + keys.len() * 96 + 64);
        cmd.arg("EVALSHA").arg(&self.sha).arg(keys.len());
        for key in keys {
            cmd.arg(key);
        }
        cmd
    }
}

/// The same call with the script's text instead of its name, for a server that has lost it; none if it is no call of a script.
pub(crate) fn with_source(cmd: &Cmd) -> Option<Cmd> {
    let mut args = cmd.args_iter().map(|arg| match arg {
        Arg::Simple(bytes) => bytes,
        _ => b"",
    });
    let (name, sha) = (args.next()?, args.next()?);
    if name != b"EVALSHA" {
        return None;
    }
    let script = ALL.iter().find(|script| script.sha.as_bytes() == sha)?;
    let mut whole = Cmd::new();
    whole.arg("EVAL").arg(script.source);
    for arg in args {
        whole.arg(arg);
    }
    Some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_can_be_made_again_with_the_scripts_text() {
        let key = b"k".to_vec();
        let mut cmd = LATEST.call([&key], 0);
        cmd.arg("one").arg(b"\0two".as_slice());
        let whole = with_source(&cmd).unwrap();
        let args: Vec<_> = whole.args_iter().map(|arg| if let Arg::Simple(bytes) = arg { bytes } else { b"" }).collect();
        assert_eq!(args, [b"EVAL".as_slice(), LATEST.source.as_bytes(), b"1", b"k", b"one", b"\0two"]);
        assert!(with_source(&redis::cmd("GET")).is_none());
    }
}
