-- Incidents, what was done about each, and what was told to whom.

CREATE TABLE incidents (
    id TEXT NOT NULL PRIMARY KEY,
    policy TEXT NOT NULL,
    cause TEXT NOT NULL,
    severity TEXT NOT NULL,
    title TEXT NOT NULL,
    state TEXT NOT NULL,
    opened_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    passed_at BIGINT,
    respond_by BIGINT NOT NULL,
    escalations BIGINT NOT NULL,
    acknowledged_by TEXT,
    acknowledged_at BIGINT,
    resolved_at BIGINT,
    reported_at BIGINT,
    report TEXT NOT NULL
);
-- One cause that lasts is one incident.
CREATE UNIQUE INDEX incidents_open_once ON incidents (policy, cause) WHERE state NOT IN ('resolved', 'reported');
CREATE INDEX incidents_by_time ON incidents (opened_at);

CREATE TABLE incident_steps (
    incident TEXT NOT NULL,
    number BIGINT NOT NULL,
    at BIGINT NOT NULL,
    who TEXT NOT NULL,
    what TEXT NOT NULL,
    PRIMARY KEY (incident, number)
);

-- The queue of what is to be told: it outlives every process.
CREATE TABLE messages (
    id TEXT NOT NULL PRIMARY KEY,
    subject_key TEXT NOT NULL UNIQUE,
    notifier TEXT NOT NULL,
    incident TEXT,
    severity TEXT NOT NULL,
    topic TEXT NOT NULL,
    body TEXT NOT NULL,
    state TEXT NOT NULL,
    queued_at BIGINT NOT NULL,
    next_at BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    ended_at BIGINT,
    error TEXT
);
CREATE INDEX messages_queued ON messages (state, next_at);

-- When a heart beat last.
CREATE TABLE heartbeats (
    notifier TEXT NOT NULL PRIMARY KEY,
    tried_at BIGINT NOT NULL,
    beat_at BIGINT
);
