-- The hub's feed as it was received, for a while: a hub that is put back from an older copy gets back from here what it had told.
-- A store of an earlier build begins with what comes next.
CREATE TABLE received_feed (
    seq   INTEGER PRIMARY KEY,  -- position in the feed
    at_ms INTEGER NOT NULL,     -- the hub's stamp
    bytes BLOB NOT NULL
) STRICT;
