-- The epoch of a store that came to a recovery and that the copy did not know: it had taken its node's place since.
ALTER TABLE recovery_node ADD COLUMN met_epoch INTEGER CHECK (met_epoch > 1);
