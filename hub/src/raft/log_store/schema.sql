-- One row: which log this is. The instance is made at random with the file, so that a machine that was wiped is seen;
-- the node is kept, so that a file copied to another machine is refused.
CREATE TABLE identity (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    node     INTEGER NOT NULL CHECK (node >= 0),
    instance BLOB    NOT NULL CHECK (length(instance) = 16)
) STRICT;

-- Entries without holes, from the one after 'purged'; rows up to 'purged' wait to be swept and are never read.
CREATE TABLE entry (
    log_index   INTEGER PRIMARY KEY CHECK (log_index >= 0),
    leader_term INTEGER NOT NULL CHECK (leader_term >= 0),
    leader_node INTEGER NOT NULL CHECK (leader_node >= 0),
    kind        INTEGER NOT NULL CHECK (kind BETWEEN 0 AND 2),
    -- Commands as proposed, or a membership in postcard.
    payload     BLOB    NOT NULL CHECK (kind <> 0 OR length(payload) = 0)
) STRICT;

CREATE TABLE vote (
    only_row    INTEGER PRIMARY KEY CHECK (only_row = 1),
    leader_term INTEGER NOT NULL CHECK (leader_term >= 0),
    leader_node INTEGER NOT NULL CHECK (leader_node >= 0),
    committed   INTEGER NOT NULL CHECK (committed IN (0, 1))
) STRICT;

CREATE TABLE position (
    name        TEXT    PRIMARY KEY CHECK (name IN ('committed', 'purged')),
    log_index   INTEGER NOT NULL CHECK (log_index >= 0),
    leader_term INTEGER NOT NULL CHECK (leader_term >= 0),
    leader_node INTEGER NOT NULL CHECK (leader_node >= 0)
) STRICT;
