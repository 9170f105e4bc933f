-- What detectors saw: a line for each pattern of a session and each process that counts it, kept up to date.
--
-- `agent` and `tool` are '' for none, so that they are part of the key. Times are as in `entry`.

CREATE TABLE finding (
    session_id TEXT NOT NULL,
    type TEXT NOT NULL,
    agent TEXT NOT NULL,
    tool TEXT NOT NULL,
    source TEXT NOT NULL,
    severity TEXT NOT NULL,
    message TEXT NOT NULL,
    numbers TEXT NOT NULL, -- JSON
    wasted TEXT NOT NULL, -- US dollars, exact
    step INTEGER,
    count INTEGER NOT NULL CHECK (count > 0),
    peak REAL NOT NULL,
    first_at INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    PRIMARY KEY (session_id, type, agent, tool, source)
) STRICT, WITHOUT ROWID;

CREATE INDEX finding_last_at ON finding (last_at);

CREATE INDEX entry_started_at ON entry (started_at);
