-- Devices and persons that were defined anew while their outlet is on its way: the old node hears of it, and the new one must too, for who
-- was logged in before is out.
CREATE TABLE handoff_redefined (
    outlet INTEGER NOT NULL,
    kind   INTEGER NOT NULL CHECK (kind IN (1, 2)), -- device, person
    id     INTEGER NOT NULL,
    PRIMARY KEY (outlet, kind, id)
) STRICT, WITHOUT ROWID;
