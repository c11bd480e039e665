-- Printers' packages that two persons, one for each key, have released for import; written only by the machine.
CREATE TABLE prize_release (
    game         INTEGER NOT NULL,
    code         INTEGER NOT NULL,
    package_hash BLOB NOT NULL CHECK (length(package_hash) = 32),  -- SHA-256 of the signed PACKAGE file
    maker        TEXT NOT NULL,
    checker      TEXT NOT NULL CHECK (checker <> maker),
    PRIMARY KEY (game, code, package_hash)
) STRICT, WITHOUT ROWID;
