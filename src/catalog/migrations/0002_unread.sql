-- Items that could not be read when the snapshot was taken; nothing where nobody has looked since.

ALTER TABLE snapshots ADD COLUMN unread BIGINT;
