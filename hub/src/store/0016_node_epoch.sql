-- Stores that took the place of a node's earlier one: where each began. What the earlier store holds from there on never reached the
-- hub. A node without a row still has its first store, of epoch 1.
CREATE TABLE node_epoch (
    node           INTEGER NOT NULL CHECK (node BETWEEN 1 AND 4095),
    epoch          INTEGER NOT NULL CHECK (epoch > 1),
    next_seq       INTEGER NOT NULL CHECK (next_seq > 0),
    hash           BLOB NOT NULL CHECK (length(hash) = 32),
    replaced_at_ms INTEGER NOT NULL,
    reason         TEXT NOT NULL,
    PRIMARY KEY (node, epoch)
) STRICT, WITHOUT ROWID;

-- The run of a node's store that was admitted last. One that follows another run is on a copy.
CREATE TABLE node_run (
    node INTEGER PRIMARY KEY CHECK (node BETWEEN 1 AND 4095),
    run  BLOB NOT NULL CHECK (length(run) = 16)
) STRICT;

-- The run that wants to follow it, for as long as another machine of the hub may know the older one to be at work.
CREATE TABLE node_claim (
    node INTEGER PRIMARY KEY CHECK (node BETWEEN 1 AND 4095),
    run  BLOB NOT NULL CHECK (length(run) = 16)
) STRICT;

-- Runs on copies: never admitted, also once the original stands still.
CREATE TABLE node_clone (
    node          INTEGER NOT NULL CHECK (node BETWEEN 1 AND 4095),
    run           BLOB NOT NULL CHECK (length(run) = 16),
    refused_at_ms INTEGER NOT NULL,
    PRIMARY KEY (node, run)
) STRICT, WITHOUT ROWID;
