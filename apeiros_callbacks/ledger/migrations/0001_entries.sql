-- One line per entry, and one per scope that is charged with it.
--
-- Amounts are US dollars: `amount` is the exact decimal as text, `amount_nano` the same in whole
-- nano-dollars for sums. Times are microseconds since 1970-01-01 00:00 UTC.

PRAGMA application_id = 1097885033; -- "Apei"

CREATE TABLE entry (
    seq INTEGER PRIMARY KEY, -- append order
    id TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    kind TEXT NOT NULL,
    corrects TEXT,
    session_id TEXT NOT NULL,
    customer_id TEXT,
    agent TEXT,
    step INTEGER,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    requested_model TEXT NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cache_read_tokens INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL,
    cache_write_1h_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    input_audio_tokens INTEGER NOT NULL,
    output_audio_tokens INTEGER NOT NULL,
    web_searches INTEGER NOT NULL,
    file_searches INTEGER NOT NULL,
    amount TEXT,
    amount_nano INTEGER,
    usage_certainty TEXT NOT NULL,
    price_certainty TEXT NOT NULL,
    cached INTEGER NOT NULL CHECK (cached IN (0, 1)),
    unit_prices TEXT NOT NULL, -- JSON: bucket to US dollars per million tokens, as text
    price_source TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at INTEGER NOT NULL,
    routed_from TEXT,
    routed_to TEXT,
    error TEXT,
    UNIQUE (id, attempt),
    CHECK ((amount IS NULL) = (amount_nano IS NULL))
) STRICT;

CREATE TABLE charge (
    scope TEXT NOT NULL,
    entry INTEGER NOT NULL REFERENCES entry (seq),
    PRIMARY KEY (scope, entry)
) STRICT, WITHOUT ROWID;
