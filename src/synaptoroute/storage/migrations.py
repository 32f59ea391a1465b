"""The schema of the SQLite store, one numbered step after another. A released step never changes."""

from __future__ import annotations

MIGRATIONS: tuple[str, ...] = (
    # 1: routes, utterances with their vectors, and whose vectors they are
    """
    CREATE TABLE migrations (
        version    INTEGER PRIMARY KEY,
        applied_at TEXT NOT NULL
    ) STRICT;

    CREATE TABLE encoders (
        id          INTEGER PRIMARY KEY,
        fingerprint TEXT NOT NULL UNIQUE,
        name        TEXT NOT NULL,
        dim         INTEGER NOT NULL
    ) STRICT;

    CREATE TABLE state (
        only       INTEGER PRIMARY KEY CHECK (only = 1),
        store_id   TEXT NOT NULL,
        revision   INTEGER NOT NULL
    ) STRICT;

    CREATE TABLE routes (
        id          INTEGER PRIMARY KEY,
        name        TEXT NOT NULL UNIQUE,
        threshold   REAL,
        description TEXT,
        metadata    TEXT NOT NULL,
        revision    INTEGER NOT NULL
    ) STRICT;

    CREATE TABLE utterances (
        id         INTEGER PRIMARY KEY,
        route_id   INTEGER NOT NULL REFERENCES routes (id) ON DELETE CASCADE,
        text       TEXT NOT NULL,
        encoder_id INTEGER NOT NULL REFERENCES encoders (id),
        vector     BLOB NOT NULL,
        crc32      INTEGER NOT NULL,
        UNIQUE (route_id, text)
    ) STRICT;

    INSERT INTO state (only, store_id, revision) VALUES (1, lower(hex(randomblob(16))), 0);
    """,
    # 2: labelled queries, where to abstain, and a cache of what was learned
    """
    CREATE TABLE labelled_queries (
        id         INTEGER PRIMARY KEY,
        text       TEXT NOT NULL,
        label      TEXT,
        encoder_id INTEGER NOT NULL REFERENCES encoders (id),
        vector     BLOB NOT NULL,
        crc32      INTEGER NOT NULL
    ) STRICT;

    CREATE TABLE operating_point (
        only           INTEGER PRIMARY KEY CHECK (only = 1),
        min_confidence REAL
    ) STRICT;

    CREATE TABLE learned (
        only  INTEGER PRIMARY KEY CHECK (only = 1),
        model BLOB NOT NULL
    ) STRICT;
    """,
    # 3: what is needed to bring a cache of an earlier revision up to date
    """
    CREATE INDEX routes_by_revision ON routes (revision);

    CREATE TABLE dropped (
        revision INTEGER NOT NULL,
        name     TEXT NOT NULL,
        PRIMARY KEY (revision, name)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE lineages (
        since INTEGER PRIMARY KEY,
        token TEXT NOT NULL UNIQUE
    ) STRICT;

    INSERT INTO lineages (since, token) SELECT revision, lower(hex(randomblob(16))) FROM state;
    """,
    # 4: history that can be undone, snapshots, and vectors of the encoder that a migration leads to
    """
    CREATE TABLE history (
        id        INTEGER PRIMARY KEY,
        revision  INTEGER NOT NULL,
        operation TEXT NOT NULL,
        route     TEXT,
        actor     TEXT,
        at        TEXT NOT NULL,
        cause     TEXT,
        undo      TEXT
    ) STRICT;

    CREATE INDEX history_by_revision ON history (revision);

    CREATE TABLE history_begins (
        only     INTEGER PRIMARY KEY CHECK (only = 1),
        revision INTEGER NOT NULL
    ) STRICT;

    INSERT INTO history_begins (only, revision) SELECT 1, revision FROM state;

    CREATE TABLE snapshots (
        id       INTEGER PRIMARY KEY,
        name     TEXT NOT NULL UNIQUE,
        revision INTEGER NOT NULL,
        routes   INTEGER NOT NULL,
        actor    TEXT,
        at       TEXT NOT NULL
    ) STRICT;

    CREATE TABLE snapshot_parts (
        snapshot_id INTEGER NOT NULL REFERENCES snapshots (id) ON DELETE CASCADE,
        part        INTEGER NOT NULL,
        content     BLOB NOT NULL,
        PRIMARY KEY (snapshot_id, part)
    ) STRICT;

    CREATE TABLE reencoded (
        id         INTEGER PRIMARY KEY,
        encoder_id INTEGER NOT NULL REFERENCES encoders (id),
        text       TEXT NOT NULL,
        vector     BLOB NOT NULL,
        crc32      INTEGER NOT NULL,
        UNIQUE (encoder_id, text)
    ) STRICT;
    """,
    # 5: small named values, written in the transaction they belong to
    """
    CREATE TABLE notes (
        name  TEXT PRIMARY KEY,
        value BLOB NOT NULL
    ) STRICT, WITHOUT ROWID;
    """,
    # 6: checksums of what has none yet, and how many routes there are, so that none can vanish unnoticed
    """
    ALTER TABLE routes ADD COLUMN crc32 INTEGER;

    ALTER TABLE state ADD COLUMN routes INTEGER;

    ALTER TABLE state ADD COLUMN crc32 INTEGER;

    ALTER TABLE operating_point ADD COLUMN crc32 INTEGER;
    """,
    # 7: an operating point that somebody set
    """
    CREATE TABLE chosen_point (
        only           INTEGER PRIMARY KEY CHECK (only = 1),
        min_confidence REAL NOT NULL,
        actor          TEXT,
        at             TEXT NOT NULL,
        crc32          INTEGER NOT NULL
    ) STRICT;
    """,
)
