/// What a store can do, as data: pinned by its conformance run and shown by `replay config doctor`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, not states")]
pub struct Capabilities {
    /// Whether an acknowledged append survives the end of the process.
    pub durable: bool,
    /// Whether several processes may use it at once.
    pub shared: bool,
    /// Whether expired records vanish without `prune`.
    pub native_expiry: bool,
    /// Whether an unencoded context can be queried where it is stored, with SQL.
    pub sql: bool,
    /// The largest record that it takes, in bytes; none = as large as the limits of the engine.
    pub max_record_bytes: Option<u64>,
}

impl Capabilities {
    /// Sets whether an acknowledged append survives the end of the process.
    #[must_use]
    pub fn with_durable(mut self, durable: bool) -> Self {
        self.durable = durable;
        self
    }

    /// Sets whether several processes may use it at once.
    #[must_use]
    pub fn with_shared(mut self, shared: bool) -> Self {
        self.shared = shared;
        self
    }

    /// Sets whether expired records vanish without `prune`.
    #[must_use]
    pub fn with_native_expiry(mut self, native_expiry: bool) -> Self {
        self.native_expiry = native_expiry;
        self
    }

    /// Sets whether an unencoded context can be queried with SQL.
    #[must_use]
    pub fn with_sql(mut self, sql: bool) -> Self {
        self.sql = sql;
        self
    }

    /// Sets the largest record that it takes.
    #[must_use]
    pub fn with_max_record_bytes(mut self, bytes: u64) -> Self {
        self.max_record_bytes = Some(bytes);
        self
    }
}
