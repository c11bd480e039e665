-- Whether somebody who grants rights has met the person behind an account: who makes an account knows its first password, and must
-- not become the person by it. And wrong codes behind a right password, wherever they came from.
ALTER TABLE staff ADD COLUMN confirmed INTEGER NOT NULL DEFAULT 0 CHECK (confirmed IN (0, 1));
ALTER TABLE staff ADD COLUMN code_failure_count INTEGER NOT NULL DEFAULT 0 CHECK (code_failure_count >= 0);

-- Codes that were handed to persons and not shown yet, hashed.
CREATE TABLE staff_confirmation (
    login         TEXT PRIMARY KEY,
    code_hash     BLOB NOT NULL CHECK (length(code_hash) = 32),
    expires_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
