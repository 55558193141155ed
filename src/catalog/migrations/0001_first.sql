-- Times are milliseconds since 1970 in UTC; ids are made by us; flags don't exist, words do.

CREATE TABLE policies (
    id TEXT NOT NULL PRIMARY KEY,
    sha256 TEXT NOT NULL,
    first_seen_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL
);

CREATE TABLE targets (
    policy TEXT NOT NULL,
    name TEXT NOT NULL,
    url TEXT NOT NULL,
    capabilities TEXT NOT NULL,
    facts TEXT NOT NULL,
    probed_at BIGINT NOT NULL,
    PRIMARY KEY (policy, name)
);

-- The key makes an occurrence happen once, whoever asks.
CREATE TABLE occurrences (
    policy TEXT NOT NULL,
    job TEXT NOT NULL,
    scheduled_at BIGINT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL,
    changed_at BIGINT NOT NULL,
    PRIMARY KEY (policy, job, scheduled_at)
);
CREATE INDEX occurrences_by_time ON occurrences (scheduled_at);

CREATE TABLE runs (
    id TEXT NOT NULL PRIMARY KEY,
    policy TEXT NOT NULL,
    lane TEXT NOT NULL,
    job TEXT NOT NULL,
    job_done TEXT,
    scheduled_at BIGINT,
    cause TEXT NOT NULL,
    state TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    ended_at BIGINT,
    attempt BIGINT NOT NULL,
    stats TEXT NOT NULL,
    error_code TEXT,
    error_message TEXT,
    snapshot TEXT,
    boot_id TEXT NOT NULL,
    pid BIGINT NOT NULL,
    pid_started BIGINT NOT NULL,
    heartbeat_at BIGINT NOT NULL
);
-- At most one run of a policy and lane (backup, verify, drill) at a time.
CREATE UNIQUE INDEX runs_one_at_a_time ON runs (policy, lane) WHERE state = 'running';
CREATE INDEX runs_by_time ON runs (started_at);

CREATE TABLE attempts (
    run TEXT NOT NULL,
    number BIGINT NOT NULL,
    state TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    ended_at BIGINT,
    error_code TEXT,
    error_message TEXT,
    PRIMARY KEY (run, number)
);

CREATE TABLE snapshots (
    id TEXT NOT NULL PRIMARY KEY,
    policy TEXT NOT NULL,
    repo TEXT NOT NULL,
    kind TEXT NOT NULL,
    captured_at BIGINT NOT NULL,
    parent TEXT,
    files BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    manifest_root TEXT NOT NULL
);
CREATE INDEX snapshots_by_policy ON snapshots (policy, captured_at);

CREATE TABLE copies (
    snapshot TEXT NOT NULL,
    target TEXT NOT NULL,
    written_at BIGINT NOT NULL,
    acked_at BIGINT,
    read_back_at BIGINT,
    restored_at BIGINT,
    usable_at BIGINT,
    problem TEXT,
    problem_at BIGINT,
    PRIMARY KEY (snapshot, target)
);

CREATE TABLE verifications (
    id TEXT NOT NULL PRIMARY KEY,
    policy TEXT NOT NULL,
    target TEXT NOT NULL,
    scope TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    ended_at BIGINT NOT NULL,
    objects BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    damaged BIGINT NOT NULL
);
CREATE INDEX verifications_by_target ON verifications (policy, target, ended_at);

CREATE TABLE drills (
    id TEXT NOT NULL PRIMARY KEY,
    plan TEXT NOT NULL,
    policy TEXT NOT NULL,
    target TEXT NOT NULL,
    copy_class TEXT NOT NULL,
    scope TEXT NOT NULL,
    snapshot TEXT,
    scheduled_at BIGINT,
    started_at BIGINT NOT NULL,
    ended_at BIGINT,
    verdict TEXT,
    times TEXT NOT NULL,
    report_sha256 TEXT
);
CREATE INDEX drills_by_policy ON drills (policy, started_at);

CREATE TABLE drill_checks (
    drill TEXT NOT NULL,
    check_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    result TEXT NOT NULL,
    expected TEXT NOT NULL,
    observed TEXT NOT NULL,
    milliseconds BIGINT NOT NULL,
    PRIMARY KEY (drill, check_id)
);

CREATE TABLE findings (
    id TEXT NOT NULL PRIMARY KEY,
    policy TEXT NOT NULL,
    check_id TEXT NOT NULL,
    copy_class TEXT NOT NULL,
    source TEXT NOT NULL,
    severity TEXT NOT NULL,
    title TEXT NOT NULL,
    state TEXT NOT NULL,
    opened_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    closed_at BIGINT,
    closed_by TEXT
);
-- A failure that lasts is one finding.
CREATE UNIQUE INDEX findings_open_once ON findings (policy, check_id, copy_class) WHERE state = 'open';

CREATE TABLE events (
    id TEXT NOT NULL PRIMARY KEY,
    at BIGINT NOT NULL,
    kind TEXT NOT NULL,
    policy TEXT,
    message TEXT NOT NULL
);
CREATE INDEX events_by_time ON events (at);
