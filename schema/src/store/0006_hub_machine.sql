-- Machines of the hub, as they told where they are reached. state: 1 serving, 2 draining, 3 retired.
CREATE TABLE hub_machine (
    machine    INTEGER PRIMARY KEY CHECK (machine BETWEEN 1 AND 9999),
    http       TEXT,
    voter_only INTEGER NOT NULL CHECK (voter_only IN (0, 1)),
    state      INTEGER NOT NULL CHECK (state BETWEEN 1 AND 3)
) STRICT;

-- Ways to them: nodes spread over these by weight.
CREATE TABLE hub_link (
    machine INTEGER NOT NULL REFERENCES hub_machine,
    name    TEXT NOT NULL,
    address TEXT NOT NULL,
    weight  INTEGER NOT NULL CHECK (weight BETWEEN 1 AND 1000),
    PRIMARY KEY (machine, name)
) STRICT, WITHOUT ROWID;
