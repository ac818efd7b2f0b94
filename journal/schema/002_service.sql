-- What the service needs. STRICT tables; times as in 001.

-- The SR whose journal this is. No row: not known yet.
CREATE TABLE identity (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    sr TEXT    NOT NULL
) STRICT;

-- The newest scan. A scan that sees nothing new writes this row and no other.
CREATE TABLE tree_scan (
    id   INTEGER PRIMARY KEY CHECK (id = 1),
    time INTEGER NOT NULL
) STRICT;
INSERT INTO tree_scan SELECT 1, max(max(seen, coalesce(gone, 0))) FROM node_version HAVING count(*) > 0;

-- NULL: the newest scan saw this version. Version 1 did not know when a version was last seen: it is taken to have been
-- there until it was missed or replaced.
ALTER TABLE node_version ADD COLUMN last_seen INTEGER;
UPDATE node_version SET last_seen = max(seen, coalesce(gone,
    (SELECT next.seen FROM node_version AS next WHERE next.vdi = node_version.vdi AND next.id > node_version.id
     ORDER BY next.id LIMIT 1)))
WHERE gone IS NOT NULL
   OR EXISTS (SELECT 1 FROM node_version AS next WHERE next.vdi = node_version.vdi AND next.id > node_version.id);

-- AUTOINCREMENT: an administrator's "release 3" never means another hold.
CREATE TABLE hold (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    vdi     TEXT    NOT NULL,
    owner   TEXT    NOT NULL,
    reason  TEXT    NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER
) STRICT;

CREATE TABLE setting (
    name  TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Steps that failed. into_vdi is empty for a collection.
CREATE TABLE retry (
    vdi      TEXT    NOT NULL,
    into_vdi TEXT    NOT NULL,
    reason   TEXT    NOT NULL,
    text     TEXT    NOT NULL,
    attempts INTEGER NOT NULL,
    since    INTEGER NOT NULL,
    next     INTEGER NOT NULL,
    PRIMARY KEY (vdi, into_vdi)
) STRICT, WITHOUT ROWID;

CREATE TABLE verdict (
    vdi     TEXT    PRIMARY KEY NOT NULL,
    verdict TEXT    NOT NULL,
    reason  TEXT    NOT NULL,
    text    TEXT    NOT NULL,
    since   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE speed (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    time    INTEGER NOT NULL,
    kind    TEXT    NOT NULL,
    bytes   INTEGER NOT NULL,
    seconds REAL    NOT NULL
) STRICT;

-- How often a later run went on with an operation where an earlier one had stopped.
ALTER TABLE operation ADD COLUMN taken_up INTEGER NOT NULL DEFAULT 0;
