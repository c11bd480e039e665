-- Devices and persons of outlets that are out of use. A device comes back by a new key, a person by a new definition.
CREATE TABLE terminal_revoked (
    terminal INTEGER PRIMARY KEY REFERENCES terminal,
    reason   TEXT NOT NULL
) STRICT;
CREATE TABLE operator_disabled (
    operator INTEGER PRIMARY KEY REFERENCES operator
) STRICT;
