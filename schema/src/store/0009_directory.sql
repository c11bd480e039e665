-- Where terminals reach the nodes, as each told it; place 0 is tried first.
CREATE TABLE node_address (
    node    INTEGER NOT NULL REFERENCES node,
    place   INTEGER NOT NULL CHECK (place BETWEEN 0 AND 7),
    address TEXT NOT NULL CHECK (length(address) BETWEEN 3 AND 260),
    PRIMARY KEY (node, place)
) STRICT, WITHOUT ROWID;

-- What terminals are told of all nodes, as the hub signed it. Only the newest: an older one must not send them astray.
CREATE TABLE directory (
    only_row  INTEGER PRIMARY KEY CHECK (only_row = 1),
    version   INTEGER NOT NULL CHECK (version > 0),
    bytes     BLOB NOT NULL,
    signature BLOB NOT NULL CHECK (length(signature) = 64)
) STRICT;
