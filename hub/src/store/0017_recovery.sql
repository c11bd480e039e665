-- Getting back from the nodes what a copy of the hub lacks. The rows of the last recovery stay, for its report.

CREATE TABLE recovery (
    only_row    INTEGER PRIMARY KEY CHECK (only_row = 1),
    generation  INTEGER NOT NULL CHECK (generation > 1),
    machine     INTEGER NOT NULL,
    began_at_ms INTEGER NOT NULL,
    head_seq    INTEGER NOT NULL CHECK (head_seq >= 0),      -- newest event of the hub in the copy
    state       INTEGER NOT NULL CHECK (state IN (1, 2, 3)), -- nodes are awaited, returns are merged, over
    merged_seq  INTEGER NOT NULL,                            -- newest event of the hub that was merged
    recovered   INTEGER NOT NULL DEFAULT 0,
    lost        INTEGER NOT NULL DEFAULT 0,
    conflicts   INTEGER NOT NULL DEFAULT 0,
    -- the merge needs this node's log up to its release of this handoff
    awaited_node    INTEGER,
    awaited_handoff INTEGER,
    CHECK ((awaited_node IS NULL) = (awaited_handoff IS NULL))
) STRICT;

-- How far each node has returned its feed.
CREATE TABLE recovery_node (
    node     INTEGER PRIMARY KEY,
    state    INTEGER NOT NULL CHECK (state IN (1, 2, 3, 4)), -- awaited, returned, left out, has another feed than was merged
    next_seq INTEGER NOT NULL CHECK (next_seq > 0),
    hash     BLOB NOT NULL CHECK (length(hash) = 32),
    events   INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Events of the hub that nodes returned, until they are merged: what is for every node comes from each of them.
CREATE TABLE recovery_event (
    hub_seq INTEGER NOT NULL,
    node    INTEGER NOT NULL,
    bytes   BLOB NOT NULL,
    PRIMARY KEY (hub_seq, node)
) STRICT, WITHOUT ROWID;
CREATE INDEX recovery_event_node ON recovery_event (node, hub_seq);

-- Moves of outlets that came back, until the recovery is over: what is missing of one is made anew then.
CREATE TABLE recovery_handoff (
    handoff     INTEGER NOT NULL,
    outlet      INTEGER NOT NULL,
    from_node   INTEGER NOT NULL,
    to_node     INTEGER NOT NULL,
    balance_fen INTEGER NOT NULL,
    arrived     INTEGER NOT NULL CHECK (arrived IN (0, 1)),
    leave       INTEGER NOT NULL CHECK (leave IN (0, 1)),
    PRIMARY KEY (handoff, outlet)
) STRICT, WITHOUT ROWID;
