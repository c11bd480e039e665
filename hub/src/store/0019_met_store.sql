-- The epoch of a store that came to a recovery and that the copy did not know: it had taken its node's place since.
ALTER TABLE recovery_node ADD COLUMN met_epoch INTEGER CHECK (met_epoch > 1);
-- Newest event of the hub that the store before it had returned, and proven; 0 where it had not.
ALTER TABLE recovery_node ADD COLUMN proven_seq INTEGER NOT NULL DEFAULT 0;
