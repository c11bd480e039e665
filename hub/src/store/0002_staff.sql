-- The centre's staff, written only by the machine: the same at every replica, so a session opened at one is good at all.

-- Accounts. A login name is never given again, so the trail names a person for ever.
CREATE TABLE staff (
    login              TEXT PRIMARY KEY,
    name               TEXT NOT NULL,
    active             INTEGER NOT NULL CHECK (active IN (0, 1)),
    grants             BLOB NOT NULL,           -- postcard, behind a version byte
    password_hash      TEXT NOT NULL CHECK (password_hash LIKE '$argon2id$%'),
    password_set_at_ms INTEGER NOT NULL,
    password_temporary INTEGER NOT NULL CHECK (password_temporary IN (0, 1)),
    failure_count      INTEGER NOT NULL CHECK (failure_count >= 0),
    locked_until_ms    INTEGER NOT NULL,
    factor_sealed      BLOB,                    -- secret of the second factor, encrypted; null before it is set up
    factor_step        INTEGER NOT NULL         -- newest time step whose code was taken: each is taken once
) STRICT, WITHOUT ROWID;

-- Passwords that may not come back soon.
CREATE TABLE staff_password (
    login         TEXT NOT NULL,
    set_at_ms     INTEGER NOT NULL,
    password_hash TEXT NOT NULL,
    PRIMARY KEY (login, set_at_ms)
) STRICT, WITHOUT ROWID;

-- Recovery codes that were not used yet, hashed.
CREATE TABLE staff_recovery (
    login TEXT NOT NULL,
    hash  BLOB NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (login, hash)
) STRICT, WITHOUT ROWID;

-- Open sessions, by the hash of their tokens.
CREATE TABLE staff_session (
    tag          BLOB PRIMARY KEY CHECK (length(tag) = 32),
    login        TEXT NOT NULL,
    opened_at_ms INTEGER NOT NULL,
    seen_at_ms   INTEGER NOT NULL,
    address      TEXT NOT NULL,
    proven_twice INTEGER NOT NULL CHECK (proven_twice IN (0, 1))
) STRICT, WITHOUT ROWID;
CREATE INDEX staff_session_of ON staff_session (login);
