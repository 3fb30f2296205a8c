-- `@.` stands for the schema. Numbers stand for texts in every narrow key: none is ever given twice.
-- Text that may hold U+0000 (names of definitions, labels) is kept escaped: a backslash as \\, U+0000 as \0.

CREATE TABLE @.namespaces (
    namespace_no integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name         text COLLATE "C" NOT NULL UNIQUE
);

-- The shapes of definitions, each once in a namespace.
CREATE TABLE @.definitions (
    definition_no integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    namespace_no  integer NOT NULL,
    fingerprint   bytea NOT NULL,
    outline       text COLLATE "C" NOT NULL,
    UNIQUE (namespace_no, fingerprint)
);

-- One row a saga: what its newest snapshot says. Compared and changed by each append, this row is the fence. No index has a column that
-- every append changes, and pages keep room, so that most changes stay on their page.
-- A label is kept as key=value, with each = in the key as \=.
CREATE TABLE @.saga_heads (
    saga_no      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    namespace_no integer NOT NULL,
    status       smallint NOT NULL,
    started_at   timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL,
    sequence     bigint NOT NULL,
    digest       bytea NOT NULL,
    saga_id      text COLLATE "C" NOT NULL,
    name         text COLLATE "C" NOT NULL,
    step         text COLLATE "C",
    origin       text COLLATE "C",
    labels       text[] COLLATE "C" NOT NULL
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.05);
CREATE UNIQUE INDEX saga_heads_by_id ON @.saga_heads (namespace_no, saga_id);
CREATE INDEX saga_heads_by_start ON @.saga_heads (namespace_no, started_at, saga_id);
CREATE INDEX saga_heads_by_status ON @.saga_heads (namespace_no, status, started_at, saga_id);
CREATE INDEX saga_heads_by_origin ON @.saga_heads (namespace_no, origin, started_at, saga_id) WHERE origin IS NOT NULL;
CREATE INDEX saga_heads_by_label ON @.saga_heads USING gin (labels) WHERE labels <> '{}';

-- Snapshots in order of arrival. next_key: 0 = no checkpoint, -1 = several next steps, else a hash of the next step's name.
-- context is the exact JSON text; what is encoded, or is no text, is in payload instead.
CREATE TABLE @.saga_snapshots (
    saga_no         bigint NOT NULL,
    sequence        bigint NOT NULL,
    created_at      timestamptz NOT NULL,
    retention_until timestamptz,
    next_key        integer NOT NULL,
    definition_no   integer NOT NULL,
    step            integer,
    phase           smallint NOT NULL,
    status          smallint NOT NULL,
    encoding        smallint NOT NULL,
    header          bytea NOT NULL,
    context         text COLLATE "C",
    payload         bytea,
    -- Positions by sequence, by step and, between two entries of the next index, by time, without a look at the wide rows.
    PRIMARY KEY (saga_no, sequence, created_at, next_key)
);
-- Every 16th snapshot is enough to come near an instant.
CREATE INDEX saga_snapshots_by_time ON @.saga_snapshots (saga_no, created_at, sequence) WHERE sequence % 16 = 1;
CREATE INDEX saga_snapshots_by_retention ON @.saga_snapshots (retention_until, saga_no, sequence) WHERE retention_until IS NOT NULL;

CREATE TABLE @.log_streams (
    log_no       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    namespace_no integer NOT NULL,
    name         bytea NOT NULL,
    len          bigint NOT NULL,
    UNIQUE (namespace_no, name)
) WITH (fillfactor = 60);
CREATE TABLE @.log_entries (
    log_no      bigint NOT NULL,
    position    bigint NOT NULL,
    appended_at timestamptz NOT NULL,
    bytes       bytea NOT NULL,
    PRIMARY KEY (log_no, position)
);

-- A cell that was deleted stays for a while as one that has expired, so that its versions go on.
CREATE TABLE @.cells (
    namespace_no integer NOT NULL,
    key          bytea NOT NULL,
    version      bigint NOT NULL,
    expires_at   timestamptz,
    value        bytea NOT NULL,
    PRIMARY KEY (namespace_no, key)
) WITH (fillfactor = 60);
CREATE INDEX cells_by_expiry ON @.cells (namespace_no, expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE @.blobs (
    namespace_no integer NOT NULL,
    digest       bytea NOT NULL,
    bytes        bytea NOT NULL,
    PRIMARY KEY (namespace_no, digest)
);
ALTER TABLE @.blobs ALTER COLUMN bytes SET STORAGE EXTERNAL;

-- Sagas (kind 0) and logs (kind 1) that are gone, but whose rows still take room; they are removed a few at a time.
CREATE TABLE @.garbage (
    kind   smallint NOT NULL,
    number bigint NOT NULL,
    PRIMARY KEY (kind, number)
);

-- A text as JSONB, for queries and indexes; NULL for what is no JSON. JSONB cannot hold U+0000, which is shown as U+FFFD.
CREATE FUNCTION @.json_of(document text) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE STRICT AS $body$
BEGIN
    RETURN document::jsonb;
EXCEPTION WHEN data_exception OR program_limit_exceeded OR statement_too_complex THEN
    BEGIN
        RETURN regexp_replace(document, '(?<!\\)((?:\\\\)*)\\u0000', '\1\\ufffd', 'g')::jsonb;
    EXCEPTION WHEN data_exception OR program_limit_exceeded OR statement_too_complex THEN
        RETURN NULL;
    END;
END
$body$;

CREATE FUNCTION @.json_of_bytes(document bytea) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE STRICT AS $body$
BEGIN
    RETURN @.json_of(convert_from(document, 'UTF8'));
EXCEPTION WHEN data_exception THEN
    RETURN NULL;
END
$body$;

-- For people and their tools; the library does not read them, and they stay as they are.
CREATE VIEW @.snapshots AS
SELECT
    n.name AS namespace,
    h.saga_id,
    @.json_of(d.outline) ->> 'name' AS saga_name,
    @.json_of(d.outline) ->> 'version' AS saga_version,
    s.sequence,
    coalesce((ARRAY['before_step', 'after_step', 'failure', 'compensation', 'completion', 'resume', 'manual'])[s.phase + 1],
        'code ' || s.phase) AS phase,
    coalesce((ARRAY['pending', 'executing', 'completed', 'compensating', 'rolled_back', 'failed', 'parked'])[s.status + 1],
        'code ' || s.status) AS status,
    @.json_of(d.outline) -> 'steps' -> s.step ->> 'name' AS step,
    s.created_at,
    s.retention_until,
    s.context,
    @.json_of(s.context) AS context_json
FROM @.saga_heads AS h
JOIN @.namespaces AS n USING (namespace_no)
JOIN @.saga_snapshots AS s USING (saga_no)
JOIN @.definitions AS d USING (definition_no);

CREATE VIEW @.saga_replay_log AS
WITH events AS (
    SELECT n.name AS namespace, l.log_no, e.position, @.json_of_bytes(e.bytes) AS line
    FROM @.log_streams AS l
    JOIN @.namespaces AS n USING (namespace_no)
    JOIN @.log_entries AS e USING (log_no)
    WHERE l.name >= 'replay/'::bytea AND l.name < 'replay0'::bytea
)
SELECT
    o.namespace,
    o.line ->> 'replay_id' AS replay_id,
    o.line ->> 'original' AS original_saga_id,
    o.line ->> 'new_saga' AS new_saga_id,
    CASE o.line -> 'checkpoint' ->> 'kind' WHEN 'step' THEN o.line -> 'checkpoint' ->> 'value' END AS checkpoint_step,
    (o.line ->> 'sequence')::bigint AS checkpoint_sequence,
    o.line -> 'context_override' AS context_override,
    o.line ->> 'initiated_by' AS initiated_by,
    o.line ->> 'reason' AS reason,
    (o.line ->> 'dry_run')::boolean AS dry_run,
    coalesce((c.line ->> 'refused')::boolean, false) AS refused,
    coalesce(c.line ->> 'status', 'running') AS replay_status,
    c.line ->> 'error' AS error_message,
    (o.line ->> 'at')::timestamptz AS created_at,
    (c.line ->> 'at')::timestamptz AS completed_at
FROM events AS o
LEFT JOIN LATERAL (
    SELECT later.line FROM events AS later
    WHERE later.log_no = o.log_no AND later.line ->> 'event' = 'closed' AND later.line ->> 'replay_id' = o.line ->> 'replay_id'
    ORDER BY later.position DESC LIMIT 1
) AS c ON true
WHERE o.line ->> 'event' = 'opened';
