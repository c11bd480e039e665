-- Sessions that a fact of the hub ended (a device revoked or with another key, a person out of use or defined anew), by the
-- tag of their token: written with that fact, so that no restart brings one back. The session rows themselves are the
-- node's own facts and are not touched.
CREATE TABLE session_end (
    token_tag BLOB PRIMARY KEY CHECK (length(token_tag) = 16)
) STRICT, WITHOUT ROWID;
