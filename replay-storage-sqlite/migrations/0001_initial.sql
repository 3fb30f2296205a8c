-- Numbers stand for texts in every narrow key: saga_no and log_no are never given twice, so a process may remember them.

-- The shapes of definitions, each once in a namespace.
CREATE TABLE definitions (
    definition_no INTEGER PRIMARY KEY AUTOINCREMENT,
    namespace     TEXT NOT NULL,
    fingerprint   BLOB NOT NULL,
    outline       TEXT NOT NULL,
    UNIQUE (namespace, fingerprint)
) STRICT;

-- What of a saga seldom changes, and what it is found by. Its head is its newest record: a record that changes nothing here touches no
-- other table than records.
-- facets: a digest of what this row and saga_labels hold of the newest record, but the status.
-- sequence: of the record that changed this row last. The newest record is never before it.
CREATE TABLE sagas (
    saga_no    INTEGER PRIMARY KEY AUTOINCREMENT,
    namespace  TEXT NOT NULL,
    saga_id    TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    status     INTEGER NOT NULL,
    name       TEXT NOT NULL,
    origin     TEXT,
    facets     INTEGER NOT NULL,
    sequence   INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX sagas_by_id ON sagas (namespace, saga_id);
CREATE INDEX sagas_by_start ON sagas (namespace, started_at, saga_id);
CREATE INDEX sagas_by_status ON sagas (namespace, status, started_at, saga_id);
CREATE INDEX sagas_by_origin ON sagas (namespace, origin, started_at, saga_id) WHERE origin IS NOT NULL;

CREATE TABLE saga_labels (
    namespace  TEXT NOT NULL,
    key        TEXT NOT NULL,
    value      TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    saga_id    TEXT NOT NULL,
    saga_no    INTEGER NOT NULL,
    PRIMARY KEY (namespace, key, value, started_at, saga_id)
) STRICT, WITHOUT ROWID;

-- Texts that contexts of their saga are changes of. A frame was made from the record `since` and is for records from there on only;
-- it goes with the last record that refers to it.
CREATE TABLE frames (
    frame_no INTEGER PRIMARY KEY,
    saga_no  INTEGER NOT NULL,
    since    INTEGER NOT NULL,
    digest   BLOB NOT NULL,
    encoding INTEGER NOT NULL,
    context  ANY NOT NULL
) STRICT;
CREATE INDEX frames_by_saga ON frames (saga_no, since);

-- Records in order of arrival. next_key: NULL = no checkpoint, -1 = several next steps, else a hash of the next step's name.
-- context is TEXT where encoding is 0 (the exact JSON text); 1 = zstd, 2 = zstd with the text of the frame as its prefix.
CREATE TABLE records (
    record_no       INTEGER PRIMARY KEY,
    saga_no         INTEGER NOT NULL,
    sequence        INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    next_key        INTEGER,
    definition_no   INTEGER NOT NULL,
    phase           INTEGER NOT NULL,
    status          INTEGER NOT NULL,
    step            INTEGER,
    retention_until INTEGER,
    encoding        INTEGER NOT NULL,
    frame_no        INTEGER,
    header          BLOB NOT NULL,
    context         ANY NOT NULL
) STRICT;
-- The fence is a comparison with the newest record within the transaction of each append; this index need not be unique.
-- Positions by sequence, by step and, between two entries of the next index, by time, without a look at the wide rows.
CREATE INDEX records_by_saga ON records (saga_no, sequence, created_at, next_key);
-- Every 16th record is enough to come near an instant.
CREATE INDEX records_by_time ON records (saga_no, created_at, sequence) WHERE sequence % 16 = 1;
CREATE INDEX records_by_retention ON records (retention_until, saga_no, sequence) WHERE retention_until IS NOT NULL;

CREATE TABLE logs (
    log_no    INTEGER PRIMARY KEY AUTOINCREMENT,
    namespace TEXT NOT NULL,
    name      TEXT NOT NULL,
    len       INTEGER NOT NULL,
    UNIQUE (namespace, name)
) STRICT;
CREATE TABLE log_entries (
    entry_no    INTEGER PRIMARY KEY,
    log_no      INTEGER NOT NULL,
    position    INTEGER NOT NULL,
    appended_at INTEGER NOT NULL,
    bytes       BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX log_entries_by_log ON log_entries (log_no, position);

CREATE TABLE cells (
    namespace  TEXT NOT NULL,
    key        TEXT NOT NULL,
    version    INTEGER NOT NULL,
    expires_at INTEGER,
    value      BLOB NOT NULL,
    PRIMARY KEY (namespace, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX cells_by_expiry ON cells (namespace, expires_at) WHERE expires_at IS NOT NULL;
-- The highest version that a removed cell of the namespace had: versions grow across removal without a trace of each key.
CREATE TABLE cell_marks (
    namespace TEXT PRIMARY KEY,
    version   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE blobs (
    blob_no   INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL,
    digest    BLOB NOT NULL,
    bytes     BLOB NOT NULL,
    UNIQUE (namespace, digest)
) STRICT;

-- Sagas (kind 0) and logs (kind 1) that are gone, but whose rows still take room; they are removed a few at a time.
CREATE TABLE garbage (
    kind   INTEGER NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (kind, number)
) STRICT, WITHOUT ROWID;

-- For people and their tools; the library does not read it.
CREATE VIEW snapshots AS
SELECT
    s.namespace,
    s.saga_id,
    d.outline ->> '$.name' AS saga_name,
    d.outline ->> '$.version' AS saga_version,
    r.sequence,
    CASE r.phase
        WHEN 0 THEN 'before_step' WHEN 1 THEN 'after_step' WHEN 2 THEN 'failure' WHEN 3 THEN 'compensation'
        WHEN 4 THEN 'completion' WHEN 5 THEN 'resume' WHEN 6 THEN 'manual' ELSE 'code ' || r.phase
    END AS phase,
    CASE r.status
        WHEN 0 THEN 'pending' WHEN 1 THEN 'executing' WHEN 2 THEN 'completed' WHEN 3 THEN 'compensating'
        WHEN 4 THEN 'rolled_back' WHEN 5 THEN 'failed' WHEN 6 THEN 'parked' ELSE 'code ' || r.status
    END AS status,
    CASE WHEN r.step IS NOT NULL THEN json_extract(d.outline, '$.steps[' || r.step || '].name') END AS step,
    strftime('%Y-%m-%dT%H:%M:%S', (r.created_at - ((r.created_at % 1000000) + 1000000) % 1000000) / 1000000, 'unixepoch')
        || printf('.%06dZ', ((r.created_at % 1000000) + 1000000) % 1000000) AS created_at,
    r.context
FROM sagas AS s
JOIN records AS r ON r.saga_no = s.saga_no
JOIN definitions AS d ON d.definition_no = r.definition_no;
