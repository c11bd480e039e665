-- Values of parameters: appended, never changed. Scope 0 is the province, else the prefecture.
CREATE TABLE parameter (
    key               TEXT NOT NULL,
    scope             INTEGER NOT NULL,
    effective_from_ms INTEGER NOT NULL,
    seq               INTEGER NOT NULL,        -- of the event at the hub: of two values from one instant on the later one holds
    value             INTEGER NOT NULL,
    maker             TEXT NOT NULL,
    checker           TEXT NOT NULL CHECK (checker <> maker),
    PRIMARY KEY (key, scope, effective_from_ms, seq)
) STRICT, WITHOUT ROWID;
