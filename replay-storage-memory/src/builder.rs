use std::sync::Arc;

use replay_core::{Clock, Error, Namespace, Result, SystemClock, storage::StoreUrl};

use crate::Memory;

/// How a new [`Memory`] is made: namespace `default` and the system's clock, unless set otherwise.
#[derive(Debug, Clone)]
pub struct MemoryBuilder {
    namespace: Namespace,
    clock: Arc<dyn Clock>,
}

impl Default for MemoryBuilder {
    fn default() -> Self {
        Self { namespace: Namespace::default(), clock: Arc::new(SystemClock) }
    }
}

impl MemoryBuilder {
    /// Takes the options of `memory:?namespace=…`.
    pub(crate) fn from_url(mut url: StoreUrl) -> Result<Self> {
        if url.scheme() != "memory" || !url.rest().is_empty() {
            return Err(Error::invalid("open store", format!("`{url}` is not the URL of a memory store"))
                .hint("write memory: or memory:?namespace=NAME"));
        }
        let namespace = url.take_namespace()?;
        url.finish()?;
        Ok(Self::default().namespace(namespace))
    }

    /// Sets the namespace of the first handle.
    #[must_use]
    pub fn namespace(mut self, namespace: Namespace) -> Self {
        self.namespace = namespace;
        self
    }

    /// Sets the clock that judges when cells expire and says when log entries were taken.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The new, empty store.
    pub fn build(self) -> Memory {
        Memory::build(self.namespace, self.clock)
    }
}
