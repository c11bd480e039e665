-- Outlets on their way from the node that serves them to another one: from the order until the outlet has left.
CREATE TABLE handoff (
    outlet   INTEGER PRIMARY KEY,
    handoff  INTEGER NOT NULL,
    node     INTEGER NOT NULL,          -- who serves it until it is released
    to_node  INTEGER NOT NULL,
    released INTEGER NOT NULL CHECK (released IN (0, 1))  -- 1: the node decides nothing for it any more
) STRICT;

-- Where the outlets went that a node served before: whoever asks there is sent on.
CREATE TABLE outlet_moved (
    outlet  INTEGER NOT NULL,
    node    INTEGER NOT NULL,
    to_node INTEGER NOT NULL,
    at_ms   INTEGER NOT NULL,
    PRIMARY KEY (outlet, node)
) STRICT, WITHOUT ROWID;

-- Who paid the tickets of a pack that came from another node, for whoever presents them again: the transfers that tell it stay there.
CREATE TABLE claim_history (
    ticket     INTEGER PRIMARY KEY,
    outlet     INTEGER NOT NULL,
    paid_at_ms INTEGER NOT NULL
) STRICT;
