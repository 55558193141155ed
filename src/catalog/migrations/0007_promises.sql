-- What each policy promised when somebody last agreed to it: a change is held against this.

CREATE TABLE promises (
    policy TEXT NOT NULL PRIMARY KEY,
    version TEXT NOT NULL,
    body TEXT NOT NULL,
    agreed_at BIGINT NOT NULL
);
