-- The vendor's access: asked for by one person, opened by another, for a while.
CREATE TABLE staff_support (
    number      INTEGER PRIMARY KEY CHECK (number > 0),
    login       TEXT NOT NULL,                   -- the vendor's account
    reason      TEXT NOT NULL,
    minutes     INTEGER NOT NULL CHECK (minutes BETWEEN 1 AND 480),
    asked_by    TEXT NOT NULL,
    asked_at_ms INTEGER NOT NULL,
    opened_by   TEXT CHECK (opened_by <> asked_by),
    until_ms    INTEGER,                         -- null until it is opened
    ended       INTEGER NOT NULL CHECK (ended IN (0, 1)),
    CHECK ((opened_by IS NULL) = (until_ms IS NULL))
) STRICT;
CREATE INDEX staff_support_of ON staff_support (login, until_ms);
