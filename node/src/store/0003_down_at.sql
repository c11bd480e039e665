-- The latest stamp of the hub's events that were applied: the node's own next event is later, or a statement, which is merged
-- by time, would show what spent a deposit before it. A store of an earlier build takes the latest stamp that money has left.
ALTER TABLE node_state ADD COLUMN down_at_ms INTEGER NOT NULL DEFAULT 0;
UPDATE node_state SET down_at_ms = (SELECT coalesce(max(at_ms), 0) FROM transfer);
