-- Failed logins by account and place: a stranger's failures make the stranger wait, not the colleague at another place. Written
-- only by the machine, and bounded by it.
CREATE TABLE login_lock (
    login           TEXT NOT NULL,
    place           TEXT NOT NULL,      -- an address; of IPv6 its /64
    failure_count   INTEGER NOT NULL CHECK (failure_count > 0),
    locked_until_ms INTEGER NOT NULL,
    failed_at_ms    INTEGER NOT NULL,
    PRIMARY KEY (login, place)
) STRICT, WITHOUT ROWID;
CREATE INDEX login_lock_oldest ON login_lock (failed_at_ms);
