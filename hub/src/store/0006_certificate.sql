-- What renewals need to know of a certificate.
ALTER TABLE certificate ADD COLUMN issued_at_ms INTEGER;      -- null: recorded before this was remembered
ALTER TABLE certificate ADD COLUMN renews TEXT;               -- serial of the one that was shown for it; null: signed by hand, or met
ALTER TABLE certificate ADD COLUMN request_hash BLOB CHECK (length(request_hash) = 32);
ALTER TABLE certificate ADD COLUMN certificate_pem TEXT;      -- given again when the answer to a renewal was lost
ALTER TABLE certificate ADD COLUMN superseded_by TEXT;        -- serial of the one in its place, once the node was seen with it
-- The same request never gets two certificates.
CREATE UNIQUE INDEX certificate_request ON certificate (node, request_hash) WHERE request_hash IS NOT NULL;

-- Nodes whose certificates were revoked all at once: one that nobody has recorded is not believed any more.
CREATE TABLE certificate_fence (
    node   INTEGER PRIMARY KEY CHECK (node BETWEEN 1 AND 4095),
    reason TEXT NOT NULL
) STRICT;
