-- When a snapshot became a recovery point: a target, or one elsewhere, confirmed it or was read back. It stays
-- when the copies are forgotten, so that what was exposed in the past can still be said.

ALTER TABLE snapshots ADD COLUMN confirmed_at BIGINT;
ALTER TABLE snapshots ADD COLUMN offsite_at BIGINT;
UPDATE snapshots SET confirmed_at = (
    SELECT MIN(COALESCE(acked_at, read_back_at)) FROM copies WHERE copies.snapshot = snapshots.id
);
CREATE INDEX occurrences_by_policy ON occurrences (policy, scheduled_at);
