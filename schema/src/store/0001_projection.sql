-- The shared tables, written only by the projection. Integer keys are rowids: a random blob key costs four times
-- the page writes. A comment says why where a rule is not plain from DOMAIN.md.

CREATE TABLE division (
    code   INTEGER PRIMARY KEY,            -- GB/T 2260: 4 digits prefecture, 6 county, 9 township
    name   TEXT NOT NULL CHECK (name <> ''),
    parent INTEGER NOT NULL                -- 0 for a prefecture
) STRICT;

CREATE TABLE node (
    node        INTEGER PRIMARY KEY CHECK (node BETWEEN 1 AND 4095),
    name        TEXT NOT NULL,
    prefectures TEXT NOT NULL              -- comma-separated codes, ascending
) STRICT;

CREATE TABLE outlet (
    outlet   INTEGER PRIMARY KEY CHECK (outlet BETWEEN 10000000 AND 99999999),
    node     INTEGER NOT NULL,
    township INTEGER NOT NULL,
    name     TEXT NOT NULL,
    status   INTEGER NOT NULL CHECK (status IN (0, 1))  -- 0 active, 1 suspended
) STRICT;

CREATE TABLE terminal (
    terminal   INTEGER PRIMARY KEY,
    outlet     INTEGER NOT NULL REFERENCES outlet,
    node       INTEGER NOT NULL,
    kind       INTEGER NOT NULL CHECK (kind BETWEEN 0 AND 2),
    public_key BLOB NOT NULL CHECK (length(public_key) = 32),
    CHECK (terminal / 100 = outlet)        -- the id names the outlet; a device is never lent
) STRICT;

CREATE TABLE operator (
    operator      INTEGER PRIMARY KEY,
    outlet        INTEGER NOT NULL REFERENCES outlet,
    node          INTEGER NOT NULL,
    name          TEXT NOT NULL,
    role          INTEGER NOT NULL CHECK (role IN (0, 1)),  -- 0 owner, 1 clerk
    password_hash TEXT NOT NULL CHECK (password_hash LIKE '$argon2id$%'),
    CHECK (operator / 100 = outlet)
) STRICT;

CREATE TABLE game (
    game             INTEGER PRIMARY KEY,  -- packed code
    name             TEXT NOT NULL,
    price_fen        INTEGER NOT NULL CHECK (price_fen > 0),
    prize_fund_ppm   INTEGER NOT NULL CHECK (prize_fund_ppm BETWEEN 0 AND 1000000),
    welfare_fund_ppm INTEGER NOT NULL CHECK (welfare_fund_ppm BETWEEN 0 AND 1000000),
    commission_ppm   INTEGER NOT NULL CHECK (commission_ppm BETWEEN 0 AND 1000000),
    outlet_limit_fen INTEGER NOT NULL CHECK (outlet_limit_fen >= 0),
    city_limit_fen   INTEGER NOT NULL CHECK (city_limit_fen >= outlet_limit_fen),
    CHECK (prize_fund_ppm + welfare_fund_ppm + commission_ppm <= 1000000)
) STRICT;

CREATE TABLE batch (
    batch                INTEGER PRIMARY KEY CHECK (batch BETWEEN 1 AND 1048575),
    game                 INTEGER NOT NULL REFERENCES game,
    code                 INTEGER NOT NULL CHECK (code BETWEEN 0 AND 99999),
    tickets_per_pack     INTEGER NOT NULL CHECK (tickets_per_pack BETWEEN 1 AND 1000),
    packs_per_case       INTEGER NOT NULL CHECK (packs_per_case > 0),
    packs                INTEGER NOT NULL CHECK (packs > 0),
    print_completed_on   INTEGER NOT NULL, -- business day
    package_hash         BLOB NOT NULL CHECK (length(package_hash) = 32),
    sale_state           INTEGER NOT NULL CHECK (sale_state BETWEEN 0 AND 3),
    redemption_ends_at_ms INTEGER,         -- announced, never computed; null until then
    UNIQUE (game, code)
) STRICT;

CREATE TABLE prize_level (
    batch        INTEGER NOT NULL REFERENCES batch,
    level        INTEGER NOT NULL CHECK (level BETWEEN 1 AND 255),
    amount_fen   INTEGER NOT NULL CHECK (amount_fen > 0),
    ticket_count INTEGER NOT NULL CHECK (ticket_count > 0),
    PRIMARY KEY (batch, level)
) STRICT, WITHOUT ROWID;

-- A pack that was shipped to an outlet. Columns up to `hold` are written by the hub's events, the rest by the
-- node's: no column has two writers. What happened to its tickets lies in the row, so that a claim dirties one page.
CREATE TABLE pack (
    pack             INTEGER PRIMARY KEY,
    node             INTEGER NOT NULL,
    outlet           INTEGER NOT NULL REFERENCES outlet,
    shipment         INTEGER NOT NULL,
    shipped_at_ms    INTEGER NOT NULL,
    hold             INTEGER NOT NULL CHECK (hold BETWEEN 0 AND 4),   -- 0 none, 1 frozen, 2 stolen, 3 lost, 4 damaged
    state            INTEGER NOT NULL CHECK (state BETWEEN 0 AND 3),  -- 0 in transit, 1 active, 2 sold out, 3 returned
    checked_in_at_ms INTEGER,
    face_fen         INTEGER NOT NULL CHECK (face_fen >= 0),          -- as charged; 0 before check-in
    prize_fund_fen   INTEGER NOT NULL CHECK (prize_fund_fen >= 0),
    welfare_fund_fen INTEGER NOT NULL CHECK (welfare_fund_fen >= 0),
    commission_fen   INTEGER NOT NULL CHECK (commission_fen >= 0),
    sold_count       INTEGER NOT NULL CHECK (sold_count >= 0),
    sold_bits        BLOB NOT NULL,        -- bit n = ticket n was sold by scan
    claims           BLOB NOT NULL         -- 10 bytes a claimed ticket, ascending: ticket 2, origin 2, sequence 6
) STRICT;
CREATE INDEX pack_by_outlet ON pack (outlet, pack);

-- One sealed record per ticket (schema::seal): nothing here tells a winner.
CREATE TABLE pack_seal (
    pack    INTEGER PRIMARY KEY REFERENCES pack,
    records BLOB NOT NULL
) STRICT;

-- Tickets whose code was mistyped or guessed.
CREATE TABLE ticket_lock (
    ticket           INTEGER PRIMARY KEY,
    wrong_code_count INTEGER NOT NULL CHECK (wrong_code_count > 0),
    locked_at_ms     INTEGER
) STRICT;

CREATE TABLE account (
    account          INTEGER PRIMARY KEY,  -- kind 4 bits, node 12, subject 32
    balance_fen      INTEGER NOT NULL,
    -- The account's newest transfer of each of its two writers; every transfer names the one before. A statement
    -- follows the chain, so no index page is written per entry.
    last_node_transfer INTEGER NOT NULL,
    last_hub_transfer  INTEGER NOT NULL,
    CHECK (account >> 44 <> 1 OR balance_fen >= 0)  -- an outlet's prepayment: selling on credit is illegal
) STRICT;

CREATE TABLE transfer (
    transfer    INTEGER PRIMARY KEY,       -- origin 12 bits, sequence 43, index 8
    debit       INTEGER NOT NULL,
    credit      INTEGER NOT NULL,
    amount_fen  INTEGER NOT NULL CHECK (amount_fen > 0),
    code        INTEGER NOT NULL,
    subject     INTEGER NOT NULL,          -- pack, ticket or deposit, by code
    at_ms       INTEGER NOT NULL,
    debit_prev  INTEGER NOT NULL,          -- the debit account's transfer before this one, same writer; 0 none
    credit_prev INTEGER NOT NULL,
    CHECK (debit <> credit)
) STRICT;

CREATE TABLE deposit (
    deposit    INTEGER PRIMARY KEY,
    outlet     INTEGER NOT NULL,
    node       INTEGER NOT NULL,
    amount_fen INTEGER NOT NULL CHECK (amount_fen > 0),
    at_ms      INTEGER NOT NULL
) STRICT;

CREATE TABLE session (
    terminal      INTEGER PRIMARY KEY REFERENCES terminal,  -- one live session a terminal
    operator      INTEGER NOT NULL,
    token_tag     BLOB NOT NULL CHECK (length(token_tag) = 16),
    opened_at_ms  INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    closed_at_ms  INTEGER
) STRICT;

-- Sums per outlet, game and business day. Both logs add to them, so order does not matter.
CREATE TABLE outlet_day (
    outlet_day           INTEGER PRIMARY KEY,  -- day 16 bits, outlet 27, game 19 (0: no game)
    packs_checked_in     INTEGER NOT NULL,
    packs_returned       INTEGER NOT NULL,
    charge_fen           INTEGER NOT NULL,
    commission_fen       INTEGER NOT NULL,     -- less what returns took back
    return_fen           INTEGER NOT NULL,
    tickets_sold         INTEGER NOT NULL,
    claims               INTEGER NOT NULL,
    prize_fen            INTEGER NOT NULL,
    deposits             INTEGER NOT NULL,
    deposit_fen          INTEGER NOT NULL
) STRICT;

-- Facts that broke a rule: applied, their excess in suspense, waiting for a person.
CREATE TABLE exception (
    origin     INTEGER NOT NULL,
    seq        INTEGER NOT NULL,
    node       INTEGER NOT NULL,
    kind       TEXT NOT NULL,
    subject    INTEGER NOT NULL,
    amount_fen INTEGER NOT NULL,
    at_ms      INTEGER NOT NULL,
    PRIMARY KEY (origin, seq)
) STRICT, WITHOUT ROWID;
