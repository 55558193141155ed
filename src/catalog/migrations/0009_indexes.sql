-- What goes on is asked for at every end of a run and every start of a command: not by a walk through
-- years of what is over.

CREATE INDEX runs_running ON runs (id) WHERE state = 'running';
CREATE INDEX runs_by_occurrence ON runs (policy, job, scheduled_at);
CREATE INDEX occurrences_open ON occurrences (scheduled_at, policy, job) WHERE state IN ('due', 'running');
