-- Up to where the replicated log is applied, as its engine names the place, and who belongs to the cluster there. Written in the
-- transaction of the entries themselves; without a row nothing was applied.
CREATE TABLE replicated (
    only_row    INTEGER PRIMARY KEY CHECK (only_row = 1),
    log_index   INTEGER NOT NULL CHECK (log_index >= 0),
    leader_term INTEGER NOT NULL CHECK (leader_term >= 0),
    leader_node INTEGER NOT NULL CHECK (leader_node >= 0),
    membership  BLOB NOT NULL
) STRICT;
