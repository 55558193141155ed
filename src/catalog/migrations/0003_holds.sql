-- What keeps old snapshots from being removed: a person's freeze, or a run that looked suspicious.

CREATE TABLE holds (
    id TEXT NOT NULL PRIMARY KEY,
    policy TEXT NOT NULL,
    kind TEXT NOT NULL,
    reason TEXT NOT NULL,
    placed_by TEXT NOT NULL,
    placed_at BIGINT NOT NULL,
    released_by TEXT,
    released_at BIGINT,
    released_because TEXT
);
CREATE INDEX holds_by_policy ON holds (policy, placed_at);

-- A policy's newest runs, without a walk through those of all others.
CREATE INDEX runs_by_policy ON runs (policy, lane, started_at);
