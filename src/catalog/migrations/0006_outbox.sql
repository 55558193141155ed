-- Lines that the evidence log is to get, recorded in one transaction with what they tell of.

CREATE TABLE outbox (
    number BIGINT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    data TEXT NOT NULL
);
