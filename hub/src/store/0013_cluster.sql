-- Every number that a machine of the hub was ever given: none is given twice, so that no machine is taken for another one's log.
CREATE TABLE machine_number (
    machine    INTEGER PRIMARY KEY CHECK (machine BETWEEN 1 AND 9999),
    voter_only INTEGER NOT NULL CHECK (voter_only IN (0, 1)),
    retired    INTEGER NOT NULL DEFAULT 0 CHECK (retired IN (0, 1)),
    -- Whether the leader does not hear it.
    lost       INTEGER NOT NULL DEFAULT 0 CHECK (lost IN (0, 1))
) STRICT;

-- The machine that made the hub.
INSERT INTO machine_number (machine, voter_only) VALUES (1, 0);

-- Who does the jobs. The fence grows with each change of hands; a result with an older one is refused.
CREATE TABLE lease (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    machine  INTEGER NOT NULL,
    run      BLOB NOT NULL CHECK (length(run) = 16),
    fence    INTEGER NOT NULL CHECK (fence > 0)
) STRICT;

-- How often a person had a machine take over without the others; nodes turn down a hub of a lower generation.
CREATE TABLE generation (
    only_row   INTEGER PRIMARY KEY CHECK (only_row = 1),
    generation INTEGER NOT NULL CHECK (generation > 0)
) STRICT;

INSERT INTO generation VALUES (1, 1);
