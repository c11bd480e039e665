-- A store that takes the place of a lost one, until its slice has come: where the hub said that the node's log goes on. The row goes in
-- the transaction that brings the slice.
CREATE TABLE joining (
    only    INTEGER PRIMARY KEY CHECK (only = 1),
    up_next INTEGER NOT NULL CHECK (up_next >= 1),
    up_hash BLOB NOT NULL CHECK (length(up_hash) = 32)
) STRICT;
