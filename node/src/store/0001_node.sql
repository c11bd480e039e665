-- What a node keeps beside the shared tables.

-- Its own log: the only copy of money until the hub has acknowledged it.
CREATE TABLE own_log (
    seq   INTEGER PRIMARY KEY,
    bytes BLOB NOT NULL,
    hash  BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;

-- Who this store is, and how far the hub's log has been applied. One row.
CREATE TABLE node_state (
    only         INTEGER PRIMARY KEY CHECK (only = 1),
    environment  TEXT NOT NULL,
    node         INTEGER NOT NULL CHECK (node BETWEEN 1 AND 4095),
    incarnation  BLOB NOT NULL CHECK (length(incarnation) = 16),  -- made with the store: a copy or a new one is seen
    epoch        INTEGER NOT NULL,
    down_next    INTEGER NOT NULL CHECK (down_next >= 1),
    down_hash    BLOB NOT NULL CHECK (length(down_hash) = 32)
) STRICT;

-- Where the events of a request are: first 8 bytes of its id, position of its first event. Filled in bulk; what is
-- newer lies in memory and is read back from the log at start.
CREATE TABLE request_index (
    request INTEGER PRIMARY KEY,
    seq     INTEGER NOT NULL
) STRICT;

-- Batch keys, encrypted under the master key of this machine.
CREATE TABLE batch_key (
    batch   INTEGER PRIMARY KEY,
    wrapped BLOB NOT NULL
) STRICT;

-- Events of the hub that could not be applied; they never block the stream.
CREATE TABLE quarantine (
    seq    INTEGER PRIMARY KEY,
    reason TEXT NOT NULL,
    bytes  BLOB NOT NULL
) STRICT;
