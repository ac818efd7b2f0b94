-- Times are seconds since 1970-01-01. Unsigned 64-bit numbers are stored as the signed ones with the same bits.

-- One row for each executed step. AUTOINCREMENT: an id is never used twice, also when history was pruned.
CREATE TABLE operation (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    kind         TEXT    NOT NULL,
    vdi          TEXT    NOT NULL,
    into_vdi     TEXT    NOT NULL,
    direction    TEXT    NOT NULL,
    step         TEXT    NOT NULL,
    state        TEXT    NOT NULL CHECK (state IN ('running', 'merged', 'relinking', 'done', 'abandoned')),
    cursor       INTEGER NOT NULL,
    copied_bytes INTEGER NOT NULL,
    shared_bytes INTEGER NOT NULL,
    started      INTEGER NOT NULL,
    ended        INTEGER,
    error        TEXT    NOT NULL DEFAULT '',
    CHECK ((ended IS NOT NULL) = (state IN ('done', 'abandoned')))
);
CREATE INDEX operation_ended ON operation (ended);

-- The images an operation read from, as it found them.
CREATE TABLE operation_source (
    operation   INTEGER NOT NULL REFERENCES operation (id) ON DELETE CASCADE,
    position    INTEGER NOT NULL,
    vdi         TEXT    NOT NULL,
    device      INTEGER NOT NULL,
    inode       INTEGER NOT NULL,
    size        INTEGER NOT NULL,
    modified_ns INTEGER NOT NULL,
    PRIMARY KEY (operation, position)
);

-- Edits of image headers that may be half done.
CREATE TABLE pending_edit (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    image  TEXT    NOT NULL,
    device INTEGER NOT NULL,
    inode  INTEGER NOT NULL,
    edit   BLOB    NOT NULL,
    before BLOB    NOT NULL -- what stood in the places that it overwrites, packed as an edit of one phase
);

-- The tree over time. The version of a VDI with the highest id is the last one known of it.
CREATE TABLE node_version (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    vdi          TEXT    NOT NULL,
    format       TEXT    NOT NULL,
    parent       TEXT,
    hidden       INTEGER NOT NULL CHECK (hidden IN (0, 1)),
    virtual_size INTEGER NOT NULL,
    seen         INTEGER NOT NULL,
    gone         INTEGER
);
CREATE INDEX node_version_vdi ON node_version (vdi, id);

CREATE TABLE event (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    time     INTEGER NOT NULL,
    severity TEXT    NOT NULL,
    vdi      TEXT    NOT NULL,
    text     TEXT    NOT NULL
);
