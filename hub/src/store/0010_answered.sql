-- Commands that changed something, by their request, for a day: one that its proposer sends again, because the answer got lost, is
-- answered and not applied again. Written only by the machine.
CREATE TABLE answered (
    request BLOB PRIMARY KEY CHECK (length(request) = 24),  -- 16 bytes of the request, 8 of the command's hash
    at_ms   INTEGER NOT NULL,
    outcome BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX answered_oldest ON answered (at_ms);
