-- How much room a place had, once for each of its days: of it, forecasts are made. The state folder has no
-- policy and no target.

CREATE TABLE space (
    policy TEXT NOT NULL,
    target TEXT NOT NULL,
    day BIGINT NOT NULL,
    at BIGINT NOT NULL,
    free_bytes BIGINT NOT NULL,
    total_bytes BIGINT NOT NULL,
    PRIMARY KEY (policy, target, day)
);
