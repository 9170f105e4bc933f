-- What detectors saw. See the script for SQLite.

CREATE TABLE finding (
    session_id text COLLATE "C" NOT NULL,
    type text COLLATE "C" NOT NULL,
    agent text COLLATE "C" NOT NULL,
    tool text COLLATE "C" NOT NULL,
    source text COLLATE "C" NOT NULL,
    severity text NOT NULL,
    message text NOT NULL,
    numbers text NOT NULL, -- JSON
    wasted text NOT NULL, -- US dollars, exact
    step bigint,
    count bigint NOT NULL CHECK (count > 0),
    peak double precision NOT NULL,
    first_at bigint NOT NULL,
    last_at bigint NOT NULL,
    PRIMARY KEY (session_id, type, agent, tool, source)
);

CREATE INDEX finding_last_at ON finding (last_at);

CREATE INDEX entry_started_at ON entry (started_at);
