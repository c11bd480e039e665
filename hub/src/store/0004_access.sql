-- One-time codes with which devices bind their keys; written only by the machine.
CREATE TABLE enrolment (
    terminal      INTEGER PRIMARY KEY,
    kind          INTEGER NOT NULL CHECK (kind BETWEEN 0 AND 2),
    code_hash     BLOB NOT NULL CHECK (length(code_hash) = 32),
    expires_at_ms INTEGER NOT NULL,
    failure_count INTEGER NOT NULL CHECK (failure_count >= 0)
) STRICT;

-- Certificates of nodes.
CREATE TABLE certificate (
    serial       TEXT PRIMARY KEY,
    node         INTEGER NOT NULL CHECK (node BETWEEN 1 AND 4095),
    not_after_ms INTEGER NOT NULL,
    revoked      TEXT                    -- why; null while it is good
) STRICT, WITHOUT ROWID;
CREATE INDEX certificate_of ON certificate (node);
