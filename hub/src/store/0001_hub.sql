-- Tables of the hub beside the shared ones, written only by the machine. All of them can be rebuilt from the command log.

-- The hub's own log. Bytes as hashed and shipped.
CREATE TABLE hub_log (
    seq      INTEGER PRIMARY KEY,
    bytes    BLOB NOT NULL,
    hash     BLOB NOT NULL CHECK (length(hash) = 32),
    audience INTEGER NOT NULL CHECK (audience >= -2)  -- -1 every node, -2 hub only, else the node
) STRICT;
-- A new node is fed all earlier events for everybody; they are few among the packs.
CREATE INDEX hub_log_for_all ON hub_log (seq) WHERE audience = -1;

-- What each node is sent: the hub's log filtered by audience, with its own positions and its own chain.
CREATE TABLE down_feed (
    node    INTEGER NOT NULL,
    seq     INTEGER NOT NULL,
    hub_seq INTEGER NOT NULL REFERENCES hub_log,
    hash    BLOB NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (node, seq)
) STRICT, WITHOUT ROWID;

-- Newest position and chain: 0 for the hub's log, else for the node's feed. A row per registered node.
CREATE TABLE feed_head (
    node INTEGER PRIMARY KEY CHECK (node BETWEEN 0 AND 4095),
    seq  INTEGER NOT NULL CHECK (seq >= 0),
    hash BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;

-- How far each node's log was taken in, and the store that wrote it. A row from the first contact on.
CREATE TABLE node_cursor (
    node        INTEGER PRIMARY KEY,
    incarnation BLOB NOT NULL CHECK (length(incarnation) = 16),
    next_seq    INTEGER NOT NULL CHECK (next_seq > 0),
    hash        BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;

-- The nodes' events as they were hashed, a batch a row: every event with a 4-byte length in front.
CREATE TABLE node_batch (
    node_batch  INTEGER PRIMARY KEY,  -- node 12 bits, first sequence 48: an integer key costs one tree, not two
    event_count INTEGER NOT NULL CHECK (event_count > 0),
    last_hash   BLOB NOT NULL CHECK (length(last_hash) = 32),
    bytes       BLOB NOT NULL
) STRICT;

-- Sealed records of packs that were not shipped yet; shipping moves them into the event.
CREATE TABLE warehouse (
    pack    INTEGER PRIMARY KEY,
    records BLOB NOT NULL
) STRICT;

-- Batch keys, encrypted under the master key of this machine's secrets.
CREATE TABLE batch_key (
    batch   INTEGER PRIMARY KEY,
    wrapped BLOB NOT NULL
) STRICT;

-- Numbers given to printed batches.
CREATE TABLE batch_reservation (
    batch INTEGER PRIMARY KEY CHECK (batch BETWEEN 1 AND 1048575),
    game  INTEGER NOT NULL,
    code  INTEGER NOT NULL,
    UNIQUE (game, code)
) STRICT;

-- Why a batch may be sold: the ministry's approval and the day of the public notice.
CREATE TABLE sale_approval (
    batch      INTEGER PRIMARY KEY,
    number     TEXT NOT NULL CHECK (number <> ''),
    notice_day INTEGER NOT NULL
) STRICT;

-- A consignment goes to one outlet.
CREATE TABLE shipment (
    shipment INTEGER PRIMARY KEY CHECK (shipment > 0),
    outlet   INTEGER NOT NULL
) STRICT;

-- Events of nodes that could not be applied. They stay in node_batch too; a person decides.
CREATE TABLE quarantine (
    node   INTEGER NOT NULL,
    seq    INTEGER NOT NULL,
    reason TEXT NOT NULL,
    bytes  BLOB NOT NULL,
    PRIMARY KEY (node, seq)
) STRICT, WITHOUT ROWID;

-- How far the command log was applied, in the transaction of its effects; and the stamp of the newest event.
CREATE TABLE applied (
    one      INTEGER PRIMARY KEY CHECK (one = 1),
    position INTEGER NOT NULL,
    at_ms    INTEGER NOT NULL
) STRICT;
INSERT INTO applied VALUES (1, 0, 0);
INSERT INTO feed_head VALUES (0, 0, zeroblob(32));
