-- Outlets that are to move and wait for their turn; written only by the machine.
CREATE TABLE handoff_waiting (
    outlet  INTEGER PRIMARY KEY,
    to_node INTEGER NOT NULL
) STRICT;

-- What the old node told of the requests that an outlet's terminals had answered, until the outlet has arrived.
CREATE TABLE handoff_request (
    outlet  INTEGER NOT NULL,
    request INTEGER NOT NULL,
    origin  INTEGER NOT NULL,
    seq     INTEGER NOT NULL,
    PRIMARY KEY (outlet, request)
) STRICT, WITHOUT ROWID;

-- The number of the last handoff, and how many outlets may be on their way at once.
CREATE TABLE handoff_pace (
    only_row     INTEGER PRIMARY KEY CHECK (only_row = 1),
    last_handoff INTEGER NOT NULL,
    window       INTEGER NOT NULL CHECK (window > 0)
) STRICT;
INSERT INTO handoff_pace VALUES (1, 0, 50);
