//! Settings: from the command line, the environment, `replay.toml`, and built-in defaults, in this order.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use etcetera::BaseStrategy;
use replay::{Error, Namespace, Result};
use serde::{Deserialize, Serialize};

use crate::args::{Backend, Global};

const FILE_NAME: &str = "replay.toml";
const OPERATION: &str = "read configuration";

/// The configuration file. Top-level settings hold for every profile.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// The profile that is used if none is named.
    profile: Option<String>,
    #[serde(default)]
    profiles: BTreeMap<String, Profile>,
    storage_url: Option<String>,
    namespace: Option<String>,
}

/// Without URLs, which may hold passwords.
impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").field("profiles", &self.profiles.keys()).finish_non_exhaustive()
    }
}

/// One profile of the configuration file.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Profile {
    storage_url: Option<String>,
    namespace: Option<String>,
}

/// A setting and where its value comes from.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Setting<T> {
    pub(crate) value: T,
    pub(crate) source: String,
}

impl<T> Setting<T> {
    fn new(value: T, source: impl Into<String>) -> Self {
        Self { value, source: source.into() }
    }
}

/// Every setting of a run of the command.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The store's URL. It may hold a password, so it is shown through [`StoreUrl`](replay::storage::StoreUrl).
    pub(crate) storage_url: Setting<String>,
    pub(crate) namespace: Setting<String>,
    pub(crate) profile: Option<Setting<String>>,
    pub(crate) file: Option<Setting<PathBuf>>,
    /// The folder that a store by default is in; made when it is first opened.
    pub(crate) data_dir: Option<PathBuf>,
    /// The namespace of the command line or the environment, which holds for every store.
    given_namespace: Option<Setting<String>>,
    known: File,
}

impl Settings {
    /// Puts the settings together.
    ///
    /// # Errors
    /// `Invalid` for a configuration file that cannot be read or holds what is unknown, or a profile that does not exist.
    pub(crate) fn load(global: &Global) -> Result<Self> {
        let config = global.config.as_ref().map(|path| path.display().to_string());
        let found = match given(config.as_ref(), "--config", "REPLAY_CONFIG") {
            Some(path) => Some(Setting::new(PathBuf::from(path.value), path.source)),
            None => find_file(),
        };
        let file = found.as_ref().map(|found| read(&found.value)).transpose()?.unwrap_or_default();
        let in_config = || file.profile.as_ref().map(|name| Setting::new(name.clone(), in_file(found.as_ref(), "profile")));
        let profile = given(global.profile.as_ref(), "--profile", "REPLAY_PROFILE").or_else(in_config);
        let empty = Profile::default();
        let chosen = match &profile {
            Some(name) => file.profiles.get(&name.value).ok_or_else(|| unknown_profile(&name.value, &file))?,
            None => &empty,
        };
        let place = |key: &str, in_profile: bool| match &profile {
            Some(name) if in_profile => in_file(found.as_ref(), &format!("profiles.{}.{key}", name.value)),
            _ => in_file(found.as_ref(), key),
        };
        let pick = |of_profile: &Option<String>, of_file: &Option<String>, key: &str| {
            let from_profile = of_profile.as_ref().map(|value| Setting::new(value.clone(), place(key, true)));
            from_profile.or_else(|| of_file.as_ref().map(|value| Setting::new(value.clone(), place(key, false))))
        };
        let given_namespace = given(global.namespace.as_ref(), "--namespace", "REPLAY_NAMESPACE");
        let namespace = given_namespace.clone().or_else(|| pick(&chosen.namespace, &file.namespace, "namespace"));
        let data_dir = data_dir();
        let storage_url = match (&global.storage, given(global.storage_url.as_ref(), "--storage-url", "REPLAY_STORAGE_URL")) {
            (Some(kind), _) => Setting::new(usual_url(*kind, data_dir.as_deref())?, "--storage"),
            (None, Some(url)) => url,
            (None, None) => match pick(&chosen.storage_url, &file.storage_url, "storage_url") {
                Some(url) => Setting { value: beside(found.as_ref().map(|found| found.value.as_path()), url.value), ..url },
                None => Setting::new(usual_url(Backend::Sqlite, data_dir.as_deref())?, "default"),
            },
        };
        let namespace = namespace.unwrap_or_else(|| Setting::new(Namespace::default().to_string(), "default"));
        Ok(Self { storage_url, namespace, profile, file: found, data_dir, given_namespace, known: file })
    }

    /// The URL to open, with the namespace in it.
    ///
    /// # Errors
    /// `Invalid` if both the URL and another setting name a namespace.
    pub(crate) fn full_url(&self) -> Result<String> {
        self.in_namespace(&self.storage_url.value)
    }

    /// Any store's URL, with the namespace in it.
    ///
    /// # Errors
    /// As for [`full_url`](Self::full_url).
    pub(crate) fn in_namespace(&self, url: &str) -> Result<String> {
        if self.namespace.source == "default" { Ok(url.to_owned()) } else { with_namespace(url, &self.namespace.value) }
    }

    /// The URL to open, with the namespace in it, of the store that `text` names: a URL, `@` and a file that holds one, or a profile,
    /// which has its own namespace unless one was given for every store.
    ///
    /// # Errors
    /// `Invalid` for a file that does not hold a URL, an unknown profile or one without a URL, and as for [`full_url`](Self::full_url).
    pub(crate) fn url_of(&self, text: &str) -> Result<String> {
        if let Some(path) = text.strip_prefix('@') {
            return self.in_namespace(&url_in(Path::new(path))?);
        }
        if text.contains(':') {
            return self.in_namespace(text);
        }
        let profile = self.known.profiles.get(text).ok_or_else(|| {
            let error = unknown_profile(text, &self.known);
            if self.known.profiles.is_empty() {
                error.hint("write a URL as in sqlite:orders.db, @FILE, or the name of a profile")
            } else {
                error
            }
        })?;
        let url = profile.storage_url.clone().or_else(|| self.known.storage_url.clone());
        let url = url.ok_or_else(|| {
            Error::invalid(OPERATION, format!("the profile `{text}` names no store")).hint("give it a storage_url in replay.toml")
        })?;
        let url = beside(self.file.as_ref().map(|file| file.value.as_path()), url);
        let namespace = self.given_namespace.as_ref().map(|given| &given.value);
        match namespace.or(profile.namespace.as_ref()).or(self.known.namespace.as_ref()) {
            Some(namespace) => with_namespace(&url, namespace),
            None => Ok(url),
        }
    }
}

fn with_namespace(url: &str, namespace: &str) -> Result<String> {
    if url.contains("?namespace=") || url.contains("&namespace=") {
        return Err(Error::invalid("open store", "the namespace is given twice, in the URL and beside it").hint("give it once"));
    }
    let namespace = Namespace::new(namespace)?;
    let encoded: String = namespace.as_str().bytes().map(encode).collect();
    Ok(format!("{url}{}namespace={encoded}", if url.contains('?') { '&' } else { '?' }))
}

/// The URL that is all there is in a file. What it holds instead is not told: it may be a secret.
fn url_in(path: &Path) -> Result<String> {
    let wrong = |message: String| Error::invalid("read store URL", message).hint("write the URL alone into the file, on one line");
    let text = std::fs::read_to_string(path).map_err(|error| wrong(format!("{} cannot be read", path.display())).caused_by(error))?;
    let url = text.trim();
    if url.is_empty() || url.contains(char::is_whitespace) {
        return Err(wrong(format!("{} does not hold a URL", path.display())));
    }
    Ok(url.to_owned())
}

fn encode(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
}

/// What was typed, else what the environment says; an empty variable counts as none.
fn given(typed: Option<&String>, option: &str, variable: &str) -> Option<Setting<String>> {
    let from_environment = || std::env::var(variable).ok().filter(|value| !value.is_empty());
    match typed {
        Some(value) => Some(Setting::new(value.clone(), option)),
        None => from_environment().map(|value| Setting::new(value, format!("the environment, {variable}"))),
    }
}

fn in_file(file: Option<&Setting<PathBuf>>, key: &str) -> String {
    file.map_or_else(|| key.to_owned(), |file| format!("{}, {key}", file.value.display()))
}

/// `replay.toml` in this folder or above it, else in the user's configuration folder.
fn find_file() -> Option<Setting<PathBuf>> {
    let here = std::env::current_dir().ok()?;
    let above = here.ancestors().map(|folder| folder.join(FILE_NAME)).find(|path| path.is_file());
    if let Some(path) = above {
        return Some(Setting::new(path, "this folder or above"));
    }
    let user = etcetera::choose_base_strategy().ok()?.config_dir().join("replay").join(FILE_NAME);
    user.is_file().then(|| Setting::new(user, "the user's configuration folder"))
}

fn read(path: &Path) -> Result<File> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Error::invalid(OPERATION, format!("{} cannot be read", path.display())).caused_by(error))?;
    toml::from_str(&text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start).min(text.len());
        let line = text[..at].matches('\n').count() + 1;
        let column = at - text[..at].rfind('\n').map_or(0, |newline| newline + 1) + 1;
        Error::invalid(OPERATION, format!("{}:{line}:{column}: {}", path.display(), error.message().replace('\n', " ")))
            .hint("known settings: profile, storage_url, namespace, and [profiles.NAME] with storage_url and namespace")
    })
}

fn unknown_profile(name: &str, file: &File) -> Error {
    let known: Vec<&str> = file.profiles.keys().map(String::as_str).collect();
    let hint = crate::suggest::hint(name, &known).unwrap_or_else(|| "add it to replay.toml as [profiles.NAME]".to_owned());
    Error::invalid(OPERATION, format!("there is no profile `{name}`")).hint(hint)
}

fn data_dir() -> Option<PathBuf> {
    etcetera::choose_base_strategy().ok().map(|base| base.data_dir().join("replay"))
}

fn usual_url(kind: Backend, data_dir: Option<&Path>) -> Result<String> {
    match kind {
        Backend::Memory => Ok("memory:".to_owned()),
        Backend::Redis => Ok("redis://127.0.0.1:6379".to_owned()),
        // What a URL leaves out comes from the environment, as with PostgreSQL's own tools.
        Backend::Postgres => Ok("postgres://".to_owned()),
        Backend::S3 => {
            Err(Error::invalid("open store", "no bucket is the usual one").hint("name it: --storage-url s3://bucket/prefix?region=…"))
        }
        Backend::Sqlite => {
            let path = data_dir.ok_or_else(|| {
                Error::invalid("open store", "the user's data folder is not known").hint("give --storage-url sqlite:path/to/file.db")
            })?;
            let path = path.join("replay.db");
            Ok(format!("sqlite:{}", path.display().to_string().replace('%', "%25").replace('?', "%3F")))
        }
    }
}
/// A store's URL as a configuration file means it: a relative path is one from the folder of the file.
fn beside(file: Option<&Path>, url: String) -> String {
    let Some((folder, path)) = file.and_then(Path::parent).zip(url.strip_prefix("sqlite:")) else { return url };
    let (path, options) = path.split_once('?').map_or((path, None), |(path, options)| (path, Some(options)));
    if path.is_empty() || Path::new(path).is_absolute() {
        return url;
    }
    let path = folder.join(path);
    let options = options.map(|options| format!("?{options}")).unwrap_or_default();
    format!("sqlite:{}{options}", path.display())
}
