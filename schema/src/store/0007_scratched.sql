-- The first ticket of the pack whose right code was presented without a sale or a prize: such a pack is not untouched.
-- Written by the node's events.
ALTER TABLE pack ADD COLUMN scratched_ticket INTEGER CHECK (scratched_ticket BETWEEN 0 AND 999);
