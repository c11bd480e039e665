-- Nodes that were taken out of use: their numbers are given to no other node.
CREATE TABLE node_retired (
    node          INTEGER PRIMARY KEY CHECK (node BETWEEN 1 AND 4095),
    name          TEXT NOT NULL,
    prefectures   TEXT NOT NULL,                            -- that it served at last; comma-separated codes, ascending
    next_seq      INTEGER NOT NULL CHECK (next_seq > 0),    -- what its store holds from here on never reached the hub
    retired_at_ms INTEGER NOT NULL,
    reason        TEXT NOT NULL
) STRICT;
