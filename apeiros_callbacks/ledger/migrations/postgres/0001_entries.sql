-- One line per entry, and one per scope that is charged with it. See the scripts for SQLite.

CREATE TABLE entry (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- append order
    id text COLLATE "C" NOT NULL,
    attempt integer NOT NULL,
    kind text NOT NULL,
    corrects text COLLATE "C",
    session_id text NOT NULL,
    customer_id text,
    agent text,
    step bigint,
    provider text NOT NULL,
    model text NOT NULL,
    requested_model text NOT NULL,
    input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    cache_read_tokens bigint NOT NULL,
    cache_write_tokens bigint NOT NULL,
    cache_write_1h_tokens bigint NOT NULL,
    reasoning_tokens bigint NOT NULL,
    input_audio_tokens bigint NOT NULL,
    output_audio_tokens bigint NOT NULL,
    web_searches bigint NOT NULL,
    file_searches bigint NOT NULL,
    amount text,
    amount_nano bigint,
    usage_certainty text NOT NULL,
    price_certainty text NOT NULL,
    cached boolean NOT NULL,
    unit_prices text NOT NULL, -- JSON: bucket to US dollars per million tokens, as text
    price_source text NOT NULL,
    started_at bigint NOT NULL, -- microseconds since 1970-01-01 00:00 UTC
    ended_at bigint NOT NULL,
    routed_from text,
    routed_to text,
    routed_why text,
    error text,
    UNIQUE (id, attempt),
    CHECK ((amount IS NULL) = (amount_nano IS NULL))
);

CREATE TABLE charge (
    scope text COLLATE "C" NOT NULL,
    entry bigint NOT NULL, -- its seq; a foreign key would take half of the time of a write
    PRIMARY KEY (scope, entry)
);
