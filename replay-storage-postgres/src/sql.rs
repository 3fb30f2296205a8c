//! Every statement, and how values are bound to it.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use replay_core::{Error, ErrorKind, Result};
use sqlx::{Arguments, Encode, Postgres, Type, error::BoxDynError, postgres::PgArguments};

/// The values of a statement's parameters, in their order.
pub(crate) struct Args(std::result::Result<PgArguments, BoxDynError>);

impl Args {
    pub(crate) fn new() -> Self {
        Self(Ok(PgArguments::default()))
    }

    /// Adds the value of the next parameter.
    pub(crate) fn with<'q, T>(mut self, value: T) -> Self
    where
        T: Encode<'q, Postgres> + Type<Postgres>,
    {
        if let Ok(arguments) = &mut self.0
            && let Err(error) = arguments.add(value)
        {
            self.0 = Err(error);
        }
        self
    }

    pub(crate) fn into_arguments(self, operation: &'static str) -> Result<PgArguments> {
        self.0.map_err(|error| {
            Error::new(ErrorKind::LimitExceeded, operation).message("a value is more than one statement can carry").caused_by(error)
        })
    }
}

/// The first instant that a column holds; what is before is kept as this.
const EARLIEST_US: i64 = -210_863_520_000_000_000;

/// An instant as a column takes it, in whole microseconds, the rest cut off.
pub(crate) fn instant(at: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(at.timestamp_micros().max(EARLIEST_US)).unwrap_or(at)
}

/// The first whole microsecond that is not before `at`, as a column takes it; stored instants are whole.
pub(crate) fn instant_from(at: DateTime<Utc>) -> DateTime<Utc> {
    let micros = at.timestamp_micros();
    let micros = if at.timestamp_subsec_nanos().is_multiple_of(1000) { micros } else { micros.saturating_add(1) };
    DateTime::from_timestamp_micros(micros.max(EARLIEST_US)).unwrap_or(at)
}

/// Puts the schema into a text of ours, where `@.` stands for it. `schema` is a checked name.
pub(crate) fn in_schema(schema: &str, sql: &str) -> Arc<str> {
    sql.replace("@.", &format!("\"{schema}\".")).into()
}

macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $sql:expr;)+) => {
        /// The statements, with the schema put in.
        #[derive(Debug)]
        pub(crate) struct Statements {
            /// The schema's name.
            pub(crate) schema: String,
            $($(#[$doc])* pub(crate) $name: Arc<str>,)+
        }

        impl Statements {
            pub(crate) fn new(schema: &str) -> Self {
                Self { schema: schema.to_owned(), $($name: in_schema(schema, $sql),)+ }
            }

            /// Every statement with its name.
            #[cfg(test)]
            pub(crate) fn all(&self) -> Vec<(&'static str, &Arc<str>)> {
                vec![$((stringify!($name), &self.$name)),+]
            }
        }
    };
}

statements! {
    /// The number of a namespace.
    namespace = "SELECT namespace_no FROM @.namespaces WHERE name = $1";
    /// Makes a namespace, if nobody else does.
    add_namespace = "INSERT INTO @.namespaces (name) VALUES ($1) ON CONFLICT (name) DO NOTHING RETURNING namespace_no";

    /// The number of a definition.
    definition = "SELECT definition_no FROM @.definitions WHERE namespace_no = $1 AND fingerprint = $2";
    /// Keeps a definition, if nobody else does.
    add_definition = "INSERT INTO @.definitions (namespace_no, fingerprint, outline) VALUES ($1, $2, $3)
        ON CONFLICT (namespace_no, fingerprint) DO NOTHING RETURNING definition_no";
    /// The shape of a definition.
    outline = "SELECT outline FROM @.definitions WHERE definition_no = $1";

    /// Moves the head of one saga from one record to the next, and stores that. No row if the head does not stand there.
    append_one = "WITH moved AS (
            UPDATE @.saga_heads
            SET sequence = $5, digest = $6, updated_at = $7, step = $8, status = $9, name = $10, origin = $11, labels = $12
            WHERE namespace_no = $1 AND saga_id = $2 AND sequence = $3 AND digest = $4
            RETURNING saga_no
        )
        INSERT INTO @.saga_snapshots (saga_no, sequence, created_at, retention_until, next_key, definition_no, step, phase, status,
            encoding, header, context, payload)
        SELECT saga_no, $5, $7, $13, $14, $15, $16, $17, $9, $18, $19, $20, $21 FROM moved
        RETURNING sequence";
    /// The same for many sagas, some of them new, and any number of records of each. Gives the sagas whose records are stored.
    ///
    /// Sagas come in the order of their ids, and new ones before others, so that no two such statements wait for each other in a
    /// circle. One whose head another transaction holds is left out instead of being waited for.
    append_many = "WITH unit AS MATERIALIZED (
            SELECT * FROM unnest($2::text[], $3::int8[], $4::bytea[], $5::int8[], $6::bytea[], $7::timestamptz[], $8::timestamptz[],
                $9::text[], $10::int2[], $11::text[], $12::text[], $13::text[])
                AS u (saga_id, prev_sequence, prev_digest, sequence, digest, updated_at, started_at, step, status, name, origin, labels)
        ), created AS (
            INSERT INTO @.saga_heads (namespace_no, saga_id, started_at, updated_at, sequence, digest, step, status, name, origin, labels)
            SELECT $1, saga_id, started_at, updated_at, sequence, digest, step, status, name, origin, labels::text[]
            FROM unit WHERE prev_sequence = 0
            ON CONFLICT (namespace_no, saga_id) DO NOTHING
            RETURNING saga_no, saga_id
        ), held AS MATERIALIZED (
            SELECT h.saga_no, u.* FROM unit AS u CROSS JOIN LATERAL (
                SELECT saga_no FROM @.saga_heads
                WHERE namespace_no = $1 AND saga_id = u.saga_id AND sequence = u.prev_sequence AND digest = u.prev_digest
                FOR NO KEY UPDATE SKIP LOCKED
            ) AS h WHERE u.prev_sequence > 0
        ), moved AS (
            UPDATE @.saga_heads AS h
            SET sequence = u.sequence, digest = u.digest, updated_at = u.updated_at, step = u.step, status = u.status, name = u.name,
                origin = u.origin, labels = u.labels::text[]
            FROM held AS u WHERE h.saga_no = u.saga_no
            RETURNING h.saga_no, h.saga_id
        ), won AS (
            SELECT saga_no, saga_id FROM created UNION ALL SELECT saga_no, saga_id FROM moved
        ), stored AS (
            INSERT INTO @.saga_snapshots (saga_no, sequence, created_at, retention_until, next_key, definition_no, step, phase, status,
                encoding, header, context, payload)
            SELECT w.saga_no, r.sequence, r.created_at, r.retention_until, r.next_key, r.definition_no, r.step, r.phase, r.status,
                r.encoding, r.header, r.context, r.payload
            FROM unnest($14::text[], $15::int8[], $16::timestamptz[], $17::timestamptz[], $18::int4[], $19::int4[], $20::int4[],
                $21::int2[], $22::int2[], $23::int2[], $24::bytea[], $25::text[], $26::bytea[])
                AS r (saga_id, sequence, created_at, retention_until, next_key, definition_no, step, phase, status, encoding, header,
                    context, payload)
            JOIN won AS w USING (saga_id)
        )
        SELECT saga_id FROM won";
    /// A saga's head, and those of some sequences that are stored.
    stored = "SELECT h.sequence, h.digest, s.sequence, s.header FROM @.saga_heads AS h
        LEFT JOIN @.saga_snapshots AS s ON s.saga_no = h.saga_no AND s.sequence = ANY ($3)
        WHERE h.namespace_no = $1 AND h.saga_id = $2";

    /// The newest record of a saga.
    latest = "SELECT s.sequence, s.definition_no, s.encoding, s.header, s.context, s.payload FROM @.saga_heads AS h
        LEFT JOIN @.saga_snapshots AS s ON s.saga_no = h.saga_no AND s.sequence = h.sequence
        WHERE h.namespace_no = $1 AND h.saga_id = $2";
    /// The record with a sequence.
    by_sequence = "SELECT s.sequence, s.definition_no, s.encoding, s.header, s.context, s.payload FROM @.saga_heads AS h
        JOIN @.saga_snapshots AS s ON s.saga_no = h.saga_no
        WHERE h.namespace_no = $1 AND h.saga_id = $2 AND s.sequence = $3";
    /// The newest record that is not after an instant. `created_at` never decreases along the sequence. The index by time has every
    /// 16th record, so the one that is wanted is among the few before the first of those that is too late.
    by_time = "SELECT s.sequence, s.definition_no, s.encoding, s.header, s.context, s.payload
        FROM (SELECT saga_no FROM @.saga_heads WHERE namespace_no = $1 AND saga_id = $2) AS h
        CROSS JOIN LATERAL (
            SELECT * FROM @.saga_snapshots AS c
            WHERE c.saga_no = h.saga_no AND c.created_at <= $3 AND c.sequence < coalesce(
                (SELECT later.sequence FROM @.saga_snapshots AS later
                 WHERE later.saga_no = h.saga_no AND later.created_at > $3 AND later.sequence % 16 = 1
                 ORDER BY later.created_at, later.sequence LIMIT 1), 9223372036854775807)
            ORDER BY c.saga_no DESC, c.sequence DESC LIMIT 1
        ) AS s";
    /// The newest record with this one next step, and the newest with several, below a sequence.
    before_step = "SELECT s.sequence, s.definition_no, s.encoding, s.header, s.context, s.payload
        FROM (SELECT saga_no FROM @.saga_heads WHERE namespace_no = $1 AND saga_id = $2) AS h
        CROSS JOIN LATERAL (
            (SELECT * FROM @.saga_snapshots AS c WHERE c.saga_no = h.saga_no AND c.sequence < $3 AND c.next_key = $4
             ORDER BY c.saga_no DESC, c.sequence DESC LIMIT 1)
            UNION ALL
            (SELECT * FROM @.saga_snapshots AS c WHERE c.saga_no = h.saga_no AND c.sequence < $3 AND c.next_key = -1
             ORDER BY c.saga_no DESC, c.sequence DESC LIMIT 1)
        ) AS s";
    /// A page of a history, the oldest first.
    list_ascending = "SELECT sequence, definition_no, encoding, header, context, payload FROM (
            SELECT s.*, sum(octet_length(s.header) + coalesce(octet_length(s.context), 0) + coalesce(octet_length(s.payload), 0))
                OVER (ORDER BY s.sequence ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
            FROM (SELECT c.* FROM @.saga_heads AS h JOIN @.saga_snapshots AS c USING (saga_no)
                WHERE h.namespace_no = $1 AND h.saga_id = $2 AND c.sequence BETWEEN $3 AND $4 AND c.created_at >= $5 AND c.created_at < $6
                ORDER BY c.saga_no, c.sequence LIMIT $7) AS s
        ) AS page WHERE coalesce(before, 0) < $8 ORDER BY sequence";
    /// A page of a history, the newest first.
    list_descending = "SELECT sequence, definition_no, encoding, header, context, payload FROM (
            SELECT s.*, sum(octet_length(s.header) + coalesce(octet_length(s.context), 0) + coalesce(octet_length(s.payload), 0))
                OVER (ORDER BY s.sequence DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
            FROM (SELECT c.* FROM @.saga_heads AS h JOIN @.saga_snapshots AS c USING (saga_no)
                WHERE h.namespace_no = $1 AND h.saga_id = $2 AND c.sequence BETWEEN $3 AND $4 AND c.created_at >= $5 AND c.created_at < $6
                ORDER BY c.saga_no DESC, c.sequence DESC LIMIT $7) AS s
        ) AS page WHERE coalesce(before, 0) < $8 ORDER BY sequence DESC";
    /// A page of a history without payloads, the oldest first.
    headers_ascending = "SELECT c.sequence, c.definition_no, c.encoding, c.header
        FROM @.saga_heads AS h JOIN @.saga_snapshots AS c USING (saga_no)
        WHERE h.namespace_no = $1 AND h.saga_id = $2 AND c.sequence BETWEEN $3 AND $4 AND c.created_at >= $5 AND c.created_at < $6
        ORDER BY c.saga_no, c.sequence LIMIT $7";
    /// A page of a history without payloads, the newest first.
    headers_descending = "SELECT c.sequence, c.definition_no, c.encoding, c.header
        FROM @.saga_heads AS h JOIN @.saga_snapshots AS c USING (saga_no)
        WHERE h.namespace_no = $1 AND h.saga_id = $2 AND c.sequence BETWEEN $3 AND $4 AND c.created_at >= $5 AND c.created_at < $6
        ORDER BY c.saga_no DESC, c.sequence DESC LIMIT $7";

    /// Begins a stream, unless it exists.
    begin_log = "WITH begun AS (
            INSERT INTO @.log_streams (namespace_no, name, len) VALUES ($1, $2, cardinality($4::bytea[]))
            ON CONFLICT (namespace_no, name) DO NOTHING RETURNING log_no, len
        ), stored AS (
            INSERT INTO @.log_entries (log_no, position, appended_at, bytes)
            SELECT b.log_no, e.position - 1, $3, e.bytes FROM begun AS b, unnest($4::bytea[]) WITH ORDINALITY AS e (bytes, position)
        )
        SELECT len FROM begun";
    /// Appends to a stream, if it has the expected length.
    append_log = "WITH grown AS (
            UPDATE @.log_streams SET len = len + cardinality($4::bytea[]) WHERE namespace_no = $1 AND name = $2 AND len = $5
            RETURNING log_no, len
        ), stored AS (
            INSERT INTO @.log_entries (log_no, position, appended_at, bytes)
            SELECT g.log_no, $5 + e.position - 1, $3, e.bytes FROM grown AS g, unnest($4::bytea[]) WITH ORDINALITY AS e (bytes, position)
        )
        SELECT len FROM grown";
    /// A stream's length, and whether it ends with these entries from a position on.
    log_state = "SELECT l.len, l.len = $3 + cardinality($4::bytea[]) AND cardinality($4::bytea[]) > 0 AND NOT EXISTS (
            SELECT 1 FROM unnest($4::bytea[]) WITH ORDINALITY AS e (bytes, position)
            LEFT JOIN @.log_entries AS s ON s.log_no = l.log_no AND s.position = $3 + e.position - 1
            WHERE s.bytes IS DISTINCT FROM e.bytes)
        FROM @.log_streams AS l WHERE l.namespace_no = $1 AND l.name = $2";
    /// A page of a stream's entries.
    read_log = "SELECT position, appended_at, bytes FROM (
            SELECT e.*, sum(octet_length(e.bytes)) OVER (ORDER BY e.position ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
            FROM (SELECT c.* FROM @.log_streams AS l JOIN @.log_entries AS c USING (log_no)
                WHERE l.namespace_no = $1 AND l.name = $2 AND c.position >= $3 ORDER BY c.log_no, c.position LIMIT $4) AS e
        ) AS page WHERE coalesce(before, 0) < $5 ORDER BY position";
    /// A page of the streams from a name on.
    streams = "SELECT name, len FROM @.log_streams WHERE namespace_no = $1 AND name > $2 AND name >= $3 AND ($4::bytea IS NULL OR name < $4)
        ORDER BY name LIMIT $5";
    /// Takes a stream away; its entries stay to be swept.
    delete_log = "WITH gone AS (DELETE FROM @.log_streams WHERE namespace_no = $1 AND name = $2 RETURNING log_no)
        INSERT INTO @.garbage (kind, number) SELECT 1, log_no FROM gone RETURNING number";

    /// A cell that has not expired. One whose version is the deleted one is absent by whatever clock.
    get_cell = "SELECT version, expires_at, value FROM @.cells
        WHERE namespace_no = $1 AND key = $2 AND (expires_at IS NULL OR expires_at > $3) AND deleted_version IS DISTINCT FROM version";
    /// The version of a cell that has not expired.
    cell_version = "SELECT version FROM @.cells
        WHERE namespace_no = $1 AND key = $2 AND (expires_at IS NULL OR expires_at > $3) AND deleted_version IS DISTINCT FROM version";
    /// Writes a cell whatever there is.
    put_cell = "INSERT INTO @.cells AS c (namespace_no, key, version, expires_at, value) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (namespace_no, key) DO UPDATE
        SET version = greatest(c.version + 1, excluded.version), expires_at = excluded.expires_at, value = excluded.value
        RETURNING version";
    /// Writes a cell that is absent, deleted or expired.
    claim_cell = "INSERT INTO @.cells AS c (namespace_no, key, version, expires_at, value) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (namespace_no, key) DO UPDATE
        SET version = greatest(c.version + 1, excluded.version), expires_at = excluded.expires_at, value = excluded.value
        WHERE c.expires_at <= $6 OR c.deleted_version = c.version
        RETURNING version";
    /// Writes a cell that has a version.
    replace_cell = "UPDATE @.cells SET version = greatest(version + 1, $3), expires_at = $4, value = $5
        WHERE namespace_no = $1 AND key = $2 AND version = $7 AND (expires_at IS NULL OR expires_at > $6)
            AND deleted_version IS DISTINCT FROM version
        RETURNING version";
    /// Marks a cell as deleted, if it has not expired, and has the version where one is given. Its expiry then only says when it may be
    /// swept, and keeps it from programs that do not know the mark.
    delete_cell = "UPDATE @.cells SET deleted_version = version, expires_at = $3, value = '' WHERE namespace_no = $1 AND key = $2
        AND (expires_at IS NULL OR expires_at > $3) AND deleted_version IS DISTINCT FROM version AND ($4::int8 IS NULL OR version = $4)
        RETURNING version";
    /// A page of cells from a key on, those that were deleted or have expired left out.
    scan_cells = "SELECT key, version, expires_at, value FROM @.cells
        WHERE namespace_no = $1 AND key > $2 AND key >= $3 AND ($4::bytea IS NULL OR key < $4) AND (expires_at IS NULL OR expires_at > $5)
            AND deleted_version IS DISTINCT FROM version
        ORDER BY key LIMIT $6";
    /// Removes some cells that expired before an instant.
    sweep_cells = "DELETE FROM @.cells WHERE (namespace_no, key) IN (
            SELECT namespace_no, key FROM @.cells WHERE expires_at <= $1 AND namespace_no = $2 LIMIT $3 FOR UPDATE SKIP LOCKED)
        RETURNING 1";

    /// Keeps bytes.
    put_blob = "INSERT INTO @.blobs (namespace_no, digest, bytes) VALUES ($1, $2, $3) ON CONFLICT (namespace_no, digest) DO NOTHING";
    /// The bytes with a digest.
    get_blob = "SELECT bytes FROM @.blobs WHERE namespace_no = $1 AND digest = $2";
    /// Removes bytes.
    delete_blob = "DELETE FROM @.blobs WHERE namespace_no = $1 AND digest = $2 RETURNING 1";

    /// Records that expired and are not the newest of their saga. The newest checkpoint of a saga that has not ended stays; the codes
    /// of the statuses that end are those of completed, rolled back and failed.
    expired_older = "SELECT r.saga_no, r.sequence, r.retention_until, octet_length(r.header)::int8 + coalesce(octet_length(r.context), octet_length(r.payload), 0)
        FROM @.saga_snapshots AS r JOIN @.saga_heads AS h USING (saga_no)
        WHERE r.retention_until <= $2 AND h.namespace_no = $1 AND (r.retention_until, r.saga_no, r.sequence) > ($3, $4, $5)
            AND r.sequence < h.sequence AND (h.status IN (2, 4, 5) OR r.sequence <> coalesce((SELECT c.sequence FROM @.saga_snapshots AS c
            WHERE c.saga_no = r.saga_no AND c.next_key <> 0 ORDER BY c.saga_no DESC, c.sequence DESC LIMIT 1), 0))
        ORDER BY r.retention_until, r.saga_no, r.sequence LIMIT $6";
    /// Records that expired and are all that is left of a saga that has ended.
    expired_newest = "SELECT r.saga_no, r.sequence, r.retention_until, octet_length(r.header)::int8 + coalesce(octet_length(r.context), octet_length(r.payload), 0)
        FROM @.saga_snapshots AS r JOIN @.saga_heads AS h USING (saga_no)
        WHERE r.retention_until <= $2 AND h.namespace_no = $1 AND (r.retention_until, r.saga_no, r.sequence) > ($3, $4, $5)
            AND r.sequence = h.sequence AND h.status IN (2, 4, 5)
            AND NOT EXISTS (SELECT 1 FROM @.saga_snapshots AS o WHERE o.saga_no = r.saga_no AND o.sequence < r.sequence
                AND (o.retention_until IS NULL OR o.retention_until > $2))
        ORDER BY r.retention_until, r.saga_no, r.sequence LIMIT $6";
    /// Sagas, or the one, that may have more than so many records.
    long_sagas = "SELECT saga_no FROM @.saga_heads
        WHERE namespace_no = $1 AND ($2::text IS NULL OR saga_id = $2) AND sequence > $3 AND saga_no > $4 ORDER BY saga_no LIMIT $5";
    /// Records of some sagas beyond the newest so many of each.
    surplus = "SELECT r.saga_no, r.sequence, NULL::timestamptz, octet_length(r.header)::int8 + coalesce(octet_length(r.context), octet_length(r.payload), 0)
        FROM @.saga_heads AS h CROSS JOIN LATERAL (
            SELECT k.sequence FROM @.saga_snapshots AS k WHERE k.saga_no = h.saga_no ORDER BY k.saga_no DESC, k.sequence DESC
            LIMIT 1 OFFSET $2 - 1
        ) AS first
        JOIN @.saga_snapshots AS r ON r.saga_no = h.saga_no AND r.sequence < first.sequence
        WHERE h.saga_no = ANY ($1) AND (r.saga_no, r.sequence) > ($3, $4) AND r.sequence < h.sequence AND (h.status IN (2, 4, 5) OR r.sequence <> coalesce((SELECT c.sequence FROM @.saga_snapshots AS c
            WHERE c.saga_no = r.saga_no AND c.next_key <> 0 ORDER BY c.saga_no DESC, c.sequence DESC LIMIT 1), 0))
        ORDER BY r.saga_no, r.sequence LIMIT $5";
    /// One record that is not the newest of its saga.
    one_older = "SELECT r.saga_no, r.sequence, NULL::timestamptz, octet_length(r.header)::int8 + coalesce(octet_length(r.context), octet_length(r.payload), 0)
        FROM @.saga_heads AS h JOIN @.saga_snapshots AS r USING (saga_no)
        WHERE h.namespace_no = $1 AND h.saga_id = $2 AND r.sequence = $3 AND r.sequence < h.sequence AND (h.status IN (2, 4, 5) OR r.sequence <> coalesce((SELECT c.sequence FROM @.saga_snapshots AS c
            WHERE c.saga_no = r.saga_no AND c.next_key <> 0 ORDER BY c.saga_no DESC, c.sequence DESC LIMIT 1), 0))";
    /// One record that is all there is of a saga that has ended.
    one_newest = "SELECT r.saga_no, r.sequence, NULL::timestamptz, octet_length(r.header)::int8 + coalesce(octet_length(r.context), octet_length(r.payload), 0)
        FROM @.saga_heads AS h JOIN @.saga_snapshots AS r USING (saga_no)
        WHERE h.namespace_no = $1 AND h.saga_id = $2 AND r.sequence = $3 AND r.sequence = h.sequence AND h.status IN (2, 4, 5)
            AND NOT EXISTS (SELECT 1 FROM @.saga_snapshots AS o WHERE o.saga_no = r.saga_no AND o.sequence < r.sequence)";
    /// Removes records that are not the newest of their saga, those left out that others are removing.
    remove_older = "WITH doomed AS MATERIALIZED (
            SELECT r.saga_no, r.sequence FROM unnest($1::int8[], $2::int8[]) AS d (saga_no, sequence)
            JOIN @.saga_heads AS h ON h.saga_no = d.saga_no
            JOIN @.saga_snapshots AS r ON r.saga_no = d.saga_no AND r.sequence = d.sequence
            WHERE r.sequence < h.sequence AND (h.status IN (2, 4, 5) OR r.sequence <> coalesce((SELECT c.sequence FROM @.saga_snapshots AS c
            WHERE c.saga_no = r.saga_no AND c.next_key <> 0 ORDER BY c.saga_no DESC, c.sequence DESC LIMIT 1), 0))
            FOR UPDATE OF r SKIP LOCKED
        )
        DELETE FROM @.saga_snapshots AS r USING doomed AS d WHERE r.saga_no = d.saga_no AND r.sequence = d.sequence
        RETURNING r.saga_no, r.sequence";
    /// Removes sagas that have ended and have but this record, those left out that somebody appends to.
    remove_newest = "WITH doomed AS MATERIALIZED (
            SELECT h.saga_no, h.sequence FROM unnest($1::int8[], $2::int8[]) AS d (saga_no, sequence)
            JOIN @.saga_heads AS h ON h.saga_no = d.saga_no AND h.sequence = d.sequence
            WHERE h.status IN (2, 4, 5)
                AND NOT EXISTS (SELECT 1 FROM @.saga_snapshots AS o WHERE o.saga_no = d.saga_no AND o.sequence < d.sequence)
            FOR UPDATE OF h SKIP LOCKED
        ), gone AS (
            DELETE FROM @.saga_heads AS h USING doomed AS d WHERE h.saga_no = d.saga_no AND h.sequence = d.sequence
            RETURNING h.saga_no, h.sequence
        )
        DELETE FROM @.saga_snapshots AS r USING gone AS g WHERE r.saga_no = g.saga_no AND r.sequence = g.sequence
        RETURNING r.saga_no, r.sequence";
    /// How many records a saga has, and what they weigh.
    weigh_saga = "SELECT count(*), coalesce(sum(octet_length(r.header)::int8 + coalesce(octet_length(r.context), octet_length(r.payload), 0)), 0)::int8
        FROM @.saga_heads AS h JOIN @.saga_snapshots AS r USING (saga_no) WHERE h.namespace_no = $1 AND h.saga_id = $2 GROUP BY h.saga_no";
    /// Takes a saga away; its records stay to be swept.
    remove_saga = "WITH gone AS (DELETE FROM @.saga_heads WHERE namespace_no = $1 AND saga_id = $2 RETURNING saga_no)
        INSERT INTO @.garbage (kind, number) SELECT 0, saga_no FROM gone RETURNING number";
    /// The next of what is gone but not swept.
    garbage = "SELECT kind, number FROM @.garbage WHERE (kind, number) > ($1, $2) ORDER BY kind, number LIMIT 1";
    /// Removes some records of a saga that is gone.
    sweep_saga = "DELETE FROM @.saga_snapshots WHERE saga_no = $1 AND sequence IN (
            SELECT sequence FROM @.saga_snapshots WHERE saga_no = $1 ORDER BY sequence LIMIT $2 FOR UPDATE SKIP LOCKED)
        RETURNING 1";
    /// Removes some entries of a stream that is gone.
    sweep_log = "DELETE FROM @.log_entries WHERE log_no = $1 AND position IN (
            SELECT position FROM @.log_entries WHERE log_no = $1 ORDER BY position LIMIT $2 FOR UPDATE SKIP LOCKED)
        RETURNING 1";
    /// Notes that what was gone is swept, unless others still hold some of it.
    forget = "DELETE FROM @.garbage AS g WHERE kind = $1 AND number = $2
            AND NOT EXISTS (SELECT 1 FROM @.saga_snapshots WHERE $1 = 0 AND saga_no = $2)
            AND NOT EXISTS (SELECT 1 FROM @.log_entries WHERE $1 = 1 AND log_no = $2)";
}

#[cfg(test)]
mod tests;
