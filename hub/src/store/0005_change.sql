-- What one person proposed and another decides; written only by the machine.
CREATE TABLE change (
    number         INTEGER PRIMARY KEY CHECK (number > 0),
    kind           TEXT NOT NULL,
    subject        BLOB NOT NULL,               -- postcard, behind a version byte
    before         TEXT NOT NULL,               -- JSON, as it was when it was proposed
    after          TEXT NOT NULL,
    reason         TEXT NOT NULL,
    maker          TEXT NOT NULL,
    proposed_at_ms INTEGER NOT NULL,
    expires_at_ms  INTEGER NOT NULL,
    state          INTEGER NOT NULL CHECK (state BETWEEN 0 AND 3),  -- 0 open, 1 approved, 2 refused, 3 withdrawn
    checker        TEXT CHECK (checker <> maker),
    answer         TEXT                         -- why it was refused
) STRICT;
CREATE INDEX change_open ON change (maker) WHERE state = 0;
