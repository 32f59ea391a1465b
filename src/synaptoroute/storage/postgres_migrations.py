"""The schema of the PostgreSQL store, one numbered step after another. A released step never changes."""

from __future__ import annotations

MIGRATIONS: tuple[str, ...] = (
    # 1: routes, utterances with their vectors, whose vectors they are, and what lets others follow
    """
    CREATE TABLE encoders (
        id          integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        fingerprint text NOT NULL UNIQUE,
        name        text NOT NULL,
        dim         integer NOT NULL
    );

    CREATE TABLE state (
        single integer PRIMARY KEY CHECK (single = 1),
        store_id  text NOT NULL,
        revision  bigint NOT NULL,
        labelling bigint NOT NULL
    );

    CREATE TABLE routes (
        id          integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        name        text NOT NULL UNIQUE,
        threshold   double precision,
        description text,
        metadata    text NOT NULL,
        revision    bigint NOT NULL
    );

    CREATE INDEX routes_by_revision ON routes (revision);

    CREATE TABLE utterances (
        id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        route_id   integer NOT NULL REFERENCES routes (id) ON DELETE CASCADE,
        text       text NOT NULL,
        digest     bytea NOT NULL,
        encoder_id integer NOT NULL REFERENCES encoders (id),
        vector     vector NOT NULL,
        crc32      bigint NOT NULL,
        UNIQUE (route_id, digest)
    );

    CREATE INDEX utterances_in_order ON utterances (route_id, id);

    CREATE TABLE labelled_queries (
        id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        text       text NOT NULL,
        digest     bytea NOT NULL,
        label      text,
        encoder_id integer NOT NULL REFERENCES encoders (id),
        vector     vector NOT NULL,
        crc32      bigint NOT NULL
    );

    CREATE TABLE operating_point (
        single integer PRIMARY KEY CHECK (single = 1),
        min_confidence double precision
    );

    CREATE TABLE learned (
        single integer PRIMARY KEY CHECK (single = 1),
        model bytea NOT NULL
    );

    CREATE TABLE dropped (
        revision bigint NOT NULL,
        name     text NOT NULL,
        PRIMARY KEY (revision, name)
    );

    CREATE TABLE lineages (
        since bigint PRIMARY KEY,
        token text NOT NULL UNIQUE
    );

    CREATE TABLE commits (
        revision bigint PRIMARY KEY,
        token    uuid NOT NULL
    );

    CREATE TABLE history (
        id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        revision  bigint NOT NULL,
        operation text NOT NULL,
        route     text,
        actor     text,
        at        timestamptz NOT NULL,
        cause     text,
        undo      text
    );

    CREATE INDEX history_by_revision ON history (revision);

    CREATE TABLE history_begins (
        single   integer PRIMARY KEY CHECK (single = 1),
        revision bigint NOT NULL
    );

    CREATE TABLE snapshots (
        id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        name     text NOT NULL UNIQUE,
        revision bigint NOT NULL,
        routes   integer NOT NULL,
        actor    text,
        at       timestamptz NOT NULL
    );

    CREATE TABLE snapshot_parts (
        snapshot_id bigint NOT NULL REFERENCES snapshots (id) ON DELETE CASCADE,
        part        integer NOT NULL,
        content     bytea NOT NULL,
        PRIMARY KEY (snapshot_id, part)
    );

    CREATE TABLE reencoded (
        encoder_id integer NOT NULL REFERENCES encoders (id),
        text       text NOT NULL,
        digest     bytea NOT NULL,
        vector     vector NOT NULL,
        crc32      bigint NOT NULL,
        PRIMARY KEY (encoder_id, digest)
    );

    INSERT INTO history_begins VALUES (1, 0);

    INSERT INTO state VALUES (1, replace(gen_random_uuid()::text, '-', ''), 0, 0);

    INSERT INTO lineages VALUES (0, replace(gen_random_uuid()::text, '-', ''));
    """,
    # 2: an operating point that somebody set
    """
    CREATE TABLE chosen_point (
        single         integer PRIMARY KEY CHECK (single = 1),
        min_confidence double precision NOT NULL,
        actor          text,
        at             timestamptz NOT NULL
    );
    """,
)
