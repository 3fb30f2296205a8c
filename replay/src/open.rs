//! Opening a store by its URL.

use std::{collections::BTreeMap, fmt, sync::Arc};

use futures::future::{BoxFuture, FutureExt};
use replay_core::{Error, Result, Store, storage::StoreUrl};

type Opener = Arc<dyn Fn(StoreUrl) -> BoxFuture<'static, Result<Store>> + Send + Sync>;

/// Schemes that exist without being compiled in, with the feature of this crate that brings them.
const FEATURES: &[(&str, &str)] = &[
    ("memory", "memory"),
    ("postgres", "postgres"),
    ("postgresql", "postgres"),
    ("redis", "redis"),
    ("rediss", "redis"),
    ("redis+sentinel", "redis"),
    ("rediss+sentinel", "redis"),
    ("redis+cluster", "redis"),
    ("rediss+cluster", "redis"),
    ("s3", "s3"),
    ("sqlite", "sqlite"),
];

/// Which backends there are: from the scheme of a URL to what opens it. A value, so two parts of one program may know different ones.
///
/// ```
/// use replay::Backends;
/// use replay_storage_memory::Memory;
///
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// let backends = Backends::default().register("mine", |mut url| async move {
///     let namespace = url.take_namespace()?;
///     url.finish()?;
///     Ok(Memory::builder().namespace(namespace).build().into_store())
/// });
/// let store = backends.open("mine:?namespace=eu").await?;
/// assert_eq!(store.namespace().as_str(), "eu");
/// # Ok::<(), replay::Error>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Backends {
    openers: BTreeMap<String, Opener>,
}

impl Default for Backends {
    /// The backends that were compiled in.
    fn default() -> Self {
        let backends = Self::none();
        #[cfg(feature = "memory")]
        let backends = backends.register("memory", |url| async { Ok(replay_storage_memory::Memory::open_url(url)?.into_store()) });
        #[cfg(feature = "postgres")]
        let backends = ["postgres", "postgresql"].into_iter().fold(backends, |backends, scheme| {
            backends.register(scheme, |url| async { Ok(replay_storage_postgres::Postgres::open_url(url).await?.into_store()) })
        });
        #[cfg(feature = "redis")]
        let backends = ["redis", "rediss", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster"].into_iter().fold(
            backends,
            |backends, scheme| {
                backends.register(scheme, |url| async { Ok(replay_storage_redis::Redis::open_url(url).await?.into_store()) })
            },
        );
        #[cfg(feature = "s3")]
        let backends = backends.register("s3", |url| async { Ok(replay_storage_s3::S3::open_url(url).await?.into_store()) });
        #[cfg(feature = "sqlite")]
        let backends = backends.register("sqlite", |url| async { Ok(replay_storage_sqlite::Sqlite::open_url(url).await?.into_store()) });
        backends
    }
}

impl Backends {
    /// No backend at all, until some are registered.
    pub fn none() -> Self {
        Self { openers: BTreeMap::new() }
    }

    /// The same backends with `opener` for URLs that begin with `scheme:`, instead of any other.
    ///
    /// An opener takes the options that it knows out of the URL and calls [`StoreUrl::finish`], which refuses the rest.
    #[must_use]
    pub fn register<F, Fut>(mut self, scheme: impl AsRef<str>, opener: F) -> Self
    where
        F: Fn(StoreUrl) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Store>> + Send + 'static,
    {
        self.openers.insert(scheme.as_ref().to_ascii_lowercase(), Arc::new(move |url| opener(url).boxed()));
        self
    }

    /// The schemes that can be opened, in alphabetical order.
    pub fn schemes(&self) -> impl Iterator<Item = &str> {
        self.openers.keys().map(String::as_str)
    }

    /// Opens the store at `url`, such as `sqlite:orders.db?namespace=eu`.
    ///
    /// # Errors
    /// `Invalid` for what is no URL, an unknown scheme (with those that exist) or an unknown option; else the backend's own.
    pub async fn open(&self, url: &str) -> Result<Store> {
        self.open_parsed(self.parse(url)?).await
    }

    /// Opens the store at `url` if it is there; [`open`](Self::open) would make a file that is not.
    ///
    /// # Errors
    /// As [`open`](Self::open); `Unavailable`, naming the place, if there is none.
    pub async fn open_existing(&self, url: &str) -> Result<Store> {
        self.open_parsed(self.parse(url)?.of_existing()).await
    }

    fn parse(&self, url: &str) -> Result<StoreUrl> {
        StoreUrl::parse(url).map_err(|error| error.with("available", self.available()))
    }

    async fn open_parsed(&self, url: StoreUrl) -> Result<Store> {
        match self.openers.get(url.scheme()) {
            Some(opener) => opener(url).await,
            None => Err(self.unknown(url.scheme())),
        }
    }

    fn available(&self) -> String {
        self.openers.keys().map(|scheme| format!("{scheme}:")).collect::<Vec<_>>().join(" ")
    }

    fn unknown(&self, scheme: &str) -> Error {
        let available = self.available();
        let near = self.schemes().map(|known| (strsim::jaro_winkler(known, scheme), known)).max_by(|a, b| a.0.total_cmp(&b.0));
        let hint = match (FEATURES.iter().find(|(known, _)| *known == scheme), near) {
            (Some((_, feature)), _) => format!("it was not compiled in: switch on the feature `{feature}`; available: {available}"),
            (None, Some((score, known))) if score > 0.75 => format!("did you mean `{known}:`? available: {available}"),
            _ => format!("available: {available}"),
        };
        Error::invalid("open store", format!("there is no store of the kind `{scheme}`")).hint(hint)
    }
}

impl fmt::Debug for Backends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Backends").field(&self.openers.keys()).finish()
    }
}

/// Opens a store with the backends that were compiled in: `Store::open("sqlite:orders.db")`.
pub trait OpenStore: Sized {
    /// Opens the store at `url`; the URLs are those of [`Backends::open`].
    ///
    /// # Errors
    /// As [`Backends::open`].
    fn open(url: &str) -> impl Future<Output = Result<Self>> + Send;
}

impl OpenStore for Store {
    async fn open(url: &str) -> Result<Self> {
        Backends::default().open(url).await
    }
}
