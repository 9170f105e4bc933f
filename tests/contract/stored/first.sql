-- A ledger in PostgreSQL as the first version of the schema has it.

CREATE SCHEMA apeiros;
CREATE TABLE apeiros.schema_version (version integer NOT NULL);
INSERT INTO apeiros.schema_version VALUES (1);
SET search_path TO apeiros;

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

INSERT INTO apeiros.entry (id, attempt, kind, corrects, session_id, customer_id, agent, step, provider, model, requested_model, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, reasoning_tokens, input_audio_tokens, output_audio_tokens, web_searches, file_searches, amount, amount_nano, usage_certainty, price_certainty, cached, unit_prices, price_source, started_at, ended_at, routed_from, routed_to, error)
VALUES ('r1', 1, 'llm', NULL, '3f2a', NULL, NULL, NULL, 'openai', 'gpt-4o', 'gpt-4o', 1200, 380, 0, 0, 0, 0, 0, 0, 0, 0, '0.0068', 6800000, 'reported', 'listed', false, '{"input": "2.5", "output": "10"}', 'genai-prices 0.2.3', 1795435200123456, 1795435200123456, NULL, NULL, NULL);
INSERT INTO apeiros.charge VALUES ('session:3f2a', 1);
INSERT INTO apeiros.entry (id, attempt, kind, corrects, session_id, customer_id, agent, step, provider, model, requested_model, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, reasoning_tokens, input_audio_tokens, output_audio_tokens, web_searches, file_searches, amount, amount_nano, usage_certainty, price_certainty, cached, unit_prices, price_source, started_at, ended_at, routed_from, routed_to, error)
VALUES ('r2', 1, 'tool', NULL, '3f2a', NULL, NULL, NULL, 'openai', 'gpt-4o', 'gpt-4o', 1200, 380, 0, 0, 0, 0, 0, 0, 0, 0, NULL, NULL, 'reported', 'unpriced', false, '{"input": "2.5", "output": "10"}', 'genai-prices 0.2.3', 1795435200123456, 1795435200123456, NULL, NULL, NULL);
INSERT INTO apeiros.charge VALUES ('session:3f2a', 2);
INSERT INTO apeiros.entry (id, attempt, kind, corrects, session_id, customer_id, agent, step, provider, model, requested_model, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, reasoning_tokens, input_audio_tokens, output_audio_tokens, web_searches, file_searches, amount, amount_nano, usage_certainty, price_certainty, cached, unit_prices, price_source, started_at, ended_at, routed_from, routed_to, error)
VALUES ('r3', 1, 'llm', NULL, '3f2a', NULL, 'researcher', NULL, 'openai', 'gpt-4o', 'gpt-4o', 1200, 380, 0, 0, 0, 0, 0, 0, 0, 0, '1.25E-8', 12, 'reported', 'listed', false, '{"input": "2.5", "output": "10"}', 'genai-prices 0.2.3', 1795435200123456, 1795435200123456, NULL, NULL, NULL);
INSERT INTO apeiros.charge VALUES ('session:b', 3);
INSERT INTO apeiros.charge VALUES ('customer:acme', 3);
INSERT INTO apeiros.entry (id, attempt, kind, corrects, session_id, customer_id, agent, step, provider, model, requested_model, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, reasoning_tokens, input_audio_tokens, output_audio_tokens, web_searches, file_searches, amount, amount_nano, usage_certainty, price_certainty, cached, unit_prices, price_source, started_at, ended_at, routed_from, routed_to, error)
VALUES ('c1', 1, 'correction', 'r1#1', '3f2a', NULL, NULL, NULL, 'openai', 'gpt-4o', 'gpt-4o', 1000, 80, 0, 0, 0, 0, 0, 0, 0, 0, '-0.0008', -800000, 'reported', 'listed', false, '{"input": "2.5", "output": "10"}', 'genai-prices 0.2.3', 1795435200123456, 1795435200123456, NULL, NULL, NULL);
INSERT INTO apeiros.charge VALUES ('session:3f2a', 4);
