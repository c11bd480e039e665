-- The index of requests by outlet: an outlet that moves to another node takes its part along, and one that comes brings it. What is
-- in it already is read from the log again at the next start.
DROP TABLE request_index;
CREATE TABLE request_index (
    outlet  INTEGER NOT NULL,   -- 0: of no terminal
    request INTEGER NOT NULL,   -- first 8 bytes of the request's id
    origin  INTEGER NOT NULL,   -- whose log holds its events
    seq     INTEGER NOT NULL,   -- position of the first of them
    PRIMARY KEY (outlet, request)
) STRICT, WITHOUT ROWID;

-- Up to which event of the own log requests are in the index; what is newer lies in memory.
CREATE TABLE request_merged (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    seq      INTEGER NOT NULL
) STRICT;
INSERT INTO request_merged VALUES (1, 0);
