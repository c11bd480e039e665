-- Personal data of outlets' owners, encrypted for outlet and field under the keys of the hub; and which commands run on the
-- machine the log has taken over. Written only by the machine.
CREATE TABLE personal (
    outlet INTEGER NOT NULL REFERENCES outlet,
    field  INTEGER NOT NULL CHECK (field BETWEEN 1 AND 3),  -- 1 identity number, 2 phone, 3 bank account
    sealed BLOB NOT NULL,
    masked TEXT NOT NULL,
    PRIMARY KEY (outlet, field)
) STRICT, WITHOUT ROWID;

CREATE TABLE machine_command (
    id          INTEGER PRIMARY KEY,
    began_at_ms INTEGER NOT NULL
) STRICT;
