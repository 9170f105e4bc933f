-- What each scope has in all, the caps that processes share, and the allowances they take out of them.
--
-- Counters of money are nano-dollars. For each scope, at the end of every transaction:
--   spent    = what `pruned` has of it + the sum of its entries
--   reserved = the sum of its leases
--   and a lease is granted or raised only while spent + reserved stays within the cap.
-- Times are microseconds since 1970-01-01 00:00 UTC, by the clock of the machine that has the file.

CREATE INDEX entry_corrects ON entry (corrects) WHERE corrects IS NOT NULL;

-- What an entry adds to a scope. A correction replaces the tokens of the entry it corrects; its dollars are
-- the difference.
CREATE VIEW counted AS
SELECT
    entry.seq AS seq,
    coalesce(entry.amount_nano, 0) AS spent,
    entry.kind = 'llm' AND NOT entry.cached AS calls,
    entry.input_tokens + entry.output_tokens - coalesce(wrong.input_tokens + wrong.output_tokens, 0) AS tokens,
    entry.started_at AS first_at,
    entry.ended_at AS last_at
FROM entry LEFT JOIN entry AS wrong
    ON entry.corrects IS NOT NULL -- "id#attempt"
    AND wrong.id = substr(entry.corrects, 1, length(rtrim(entry.corrects, '0123456789')) - 1)
    AND wrong.attempt = CAST(substr(entry.corrects, length(rtrim(entry.corrects, '0123456789')) + 1) AS INTEGER);

CREATE TABLE scope_total (
    scope TEXT PRIMARY KEY,
    spent INTEGER NOT NULL DEFAULT 0,
    calls INTEGER NOT NULL DEFAULT 0, -- LLM calls, answers from a cache not counted
    tokens INTEGER NOT NULL DEFAULT 0, -- read and written
    entries INTEGER NOT NULL DEFAULT 0,
    first_at INTEGER, -- NULL while it has no entry
    last_at INTEGER,
    reserved INTEGER NOT NULL DEFAULT 0 CHECK (reserved >= 0)
) STRICT, WITHOUT ROWID;

INSERT INTO scope_total (scope, spent, calls, tokens, entries, first_at, last_at)
SELECT scope, sum(spent), sum(calls), sum(tokens), count(*), min(first_at), max(last_at)
FROM charge JOIN counted ON counted.seq = charge.entry GROUP BY scope;

CREATE TRIGGER charge_adds AFTER INSERT ON charge BEGIN
    INSERT INTO scope_total (scope, spent, calls, tokens, entries, first_at, last_at)
    SELECT NEW.scope, spent, calls, tokens, 1, first_at, last_at FROM counted WHERE seq = NEW.entry
    ON CONFLICT (scope) DO UPDATE SET
        spent = spent + excluded.spent,
        calls = calls + excluded.calls,
        tokens = tokens + excluded.tokens,
        entries = entries + 1,
        first_at = min(coalesce(first_at, excluded.first_at), excluded.first_at),
        last_at = max(coalesce(last_at, excluded.last_at), excluded.last_at);
END;

-- What scopes had in entries that were removed since.
CREATE TABLE pruned (
    scope TEXT PRIMARY KEY,
    spent INTEGER NOT NULL,
    calls INTEGER NOT NULL,
    tokens INTEGER NOT NULL,
    entries INTEGER NOT NULL,
    first_at INTEGER NOT NULL,
    last_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Amounts are exact decimals as text; NULL for none.
CREATE TABLE cap (
    scope TEXT PRIMARY KEY,
    usd TEXT,
    usd_nano INTEGER,
    alert_at TEXT,
    period TEXT NOT NULL CHECK (period IN ('day', 'week', 'month')),
    timezone TEXT NOT NULL,
    plan_price TEXT,
    version INTEGER NOT NULL UNIQUE, -- higher than that of any cap that was set before
    CHECK ((usd IS NULL) = (usd_nano IS NULL))
) STRICT, WITHOUT ROWID;

-- What one process has set aside of a period of a cap, for its open calls and for those to come.
CREATE TABLE lease (
    scope TEXT NOT NULL,
    owner TEXT NOT NULL,
    granted INTEGER NOT NULL CHECK (granted >= 0),
    idle INTEGER NOT NULL, -- of it, as last reported, what no call needed
    expires_at INTEGER NOT NULL,
    recalled INTEGER NOT NULL DEFAULT 0 CHECK (recalled IN (0, 1)), -- others need what is idle
    PRIMARY KEY (scope, owner)
) STRICT, WITHOUT ROWID;

CREATE INDEX lease_expires ON lease (expires_at);
CREATE INDEX lease_recalled ON lease (owner) WHERE recalled = 1;

-- Leases of processes that died: what they had set aside, of which some may have been spent unseen.
-- The key's columns come first: SQLite 3.40 finds NULLs in such a table that are not there otherwise.
CREATE TABLE expired_lease (
    scope TEXT NOT NULL,
    owner TEXT NOT NULL,
    expired_at INTEGER NOT NULL,
    granted INTEGER NOT NULL,
    idle INTEGER NOT NULL,
    PRIMARY KEY (scope, owner, expired_at)
) STRICT, WITHOUT ROWID;

-- Names that one process has taken for ever, such as of an alert that is sent once.
CREATE TABLE claim (
    name TEXT PRIMARY KEY,
    claimed_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
