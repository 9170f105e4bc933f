-- What each scope has in all, the caps that processes share, and the allowances they take out of them.
--
-- Counters of money are nano-dollars. For each scope, at the end of every transaction:
--   spent    = what `pruned` has of it + the sum of its entries
--   reserved = the sum of its leases
--   and a lease is granted or raised only while spent + reserved stays within the cap.
-- Leases of a scope are changed by whoever has locked its row of `scope_total`.
-- Times are microseconds since 1970-01-01 00:00 UTC, by the server's clock.

CREATE INDEX entry_corrects ON entry (corrects) WHERE corrects IS NOT NULL;

-- What an entry adds to a scope. A correction replaces the tokens of the entry it corrects; its dollars are
-- the difference.
CREATE VIEW counted AS
SELECT
    entry.seq AS seq,
    coalesce(entry.amount_nano, 0) AS spent,
    (entry.kind = 'llm' AND NOT entry.cached)::integer AS calls,
    entry.input_tokens + entry.output_tokens - coalesce(wrong.input_tokens + wrong.output_tokens, 0) AS tokens,
    entry.started_at AS first_at,
    entry.ended_at AS last_at
FROM entry LEFT JOIN entry AS wrong
    ON entry.corrects ~ '#[0-9]{1,9}$' -- "id#attempt"
    AND wrong.id = substr(entry.corrects, 1, length(rtrim(entry.corrects, '0123456789')) - 1)
    AND wrong.attempt = substring(entry.corrects FROM '[0-9]{1,9}$')::integer;

CREATE TABLE scope_total (
    scope text COLLATE "C" PRIMARY KEY,
    spent bigint NOT NULL DEFAULT 0,
    calls bigint NOT NULL DEFAULT 0, -- LLM calls, answers from a cache not counted
    tokens bigint NOT NULL DEFAULT 0, -- read and written
    entries bigint NOT NULL DEFAULT 0,
    first_at bigint, -- NULL while it has no entry
    last_at bigint,
    reserved bigint NOT NULL DEFAULT 0 CHECK (reserved >= 0)
) WITH (fillfactor = 50);

INSERT INTO scope_total (scope, spent, calls, tokens, entries, first_at, last_at)
SELECT scope, sum(spent), sum(calls), sum(tokens), count(*), min(first_at), max(last_at)
FROM charge JOIN counted ON counted.seq = charge.entry GROUP BY scope;

-- What scopes had in entries that were removed since.
CREATE TABLE pruned (
    scope text COLLATE "C" PRIMARY KEY,
    spent bigint NOT NULL,
    calls bigint NOT NULL,
    tokens bigint NOT NULL,
    entries bigint NOT NULL,
    first_at bigint NOT NULL,
    last_at bigint NOT NULL
);

-- Amounts are exact decimals as text; NULL for none.
CREATE TABLE cap (
    scope text COLLATE "C" PRIMARY KEY,
    usd text,
    usd_nano bigint,
    alert_at text,
    period text NOT NULL CHECK (period IN ('day', 'week', 'month')),
    timezone text NOT NULL,
    plan_price text,
    version bigint NOT NULL UNIQUE, -- higher than that of any cap that was set before
    CHECK ((usd IS NULL) = (usd_nano IS NULL))
);

-- What one process has set aside of a period of a cap, for its open calls and for those to come.
CREATE TABLE lease (
    scope text COLLATE "C" NOT NULL,
    owner text COLLATE "C" NOT NULL,
    granted bigint NOT NULL CHECK (granted >= 0),
    idle bigint NOT NULL, -- of it, as last reported, what no call needed
    expires_at bigint NOT NULL,
    recalled integer NOT NULL DEFAULT 0 CHECK (recalled IN (0, 1)), -- others need what is idle
    asked bigint NOT NULL DEFAULT 0, -- the number of what its owner said last
    PRIMARY KEY (scope, owner)
) WITH (fillfactor = 50);

CREATE INDEX lease_expires ON lease (expires_at);
CREATE INDEX lease_recalled ON lease (owner) WHERE recalled = 1;

-- Leases of processes that died: what they had set aside, of which some may have been spent unseen.
CREATE TABLE expired_lease (
    scope text COLLATE "C" NOT NULL,
    owner text COLLATE "C" NOT NULL,
    expired_at bigint NOT NULL,
    granted bigint NOT NULL,
    idle bigint NOT NULL,
    PRIMARY KEY (scope, owner, expired_at)
);

-- Names that one process has taken for ever, such as of an alert that is sent once.
CREATE TABLE claim (
    name text COLLATE "C" PRIMARY KEY,
    claimed_at bigint NOT NULL
);

CREATE FUNCTION clock() RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
$$;

-- The same as `granted` in store.py.
CREATE FUNCTION granted(busy bigint, first bigint, needs bigint, wish bigint, has bigint, room bigint, leases bigint)
RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    most bigint := has + greatest(0, room);
    needed bigint;
BEGIN
    IF wish <= has THEN
        RETURN wish;
    END IF;
    IF most < first THEN
        RETURN least(busy, most);
    END IF;
    needed := greatest(has, least(needs, most));
    RETURN needed + greatest(0, least(wish - needed, (most - needed) / (2 * leases)));
END
$$;

-- Take back the leases that were not renewed, of scopes that are locked.
CREATE FUNCTION take_back(scopes text[]) RETURNS bigint LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    now bigint := clock();
    found bigint;
BEGIN
    WITH gone AS (
        DELETE FROM lease WHERE lease.scope = ANY (scopes) AND expires_at < now
        RETURNING lease.scope, owner, granted, idle
    ), noted AS (
        INSERT INTO expired_lease (scope, owner, granted, idle, expired_at)
        SELECT gone.scope, owner, granted, idle, now FROM gone
    ), freed AS (
        UPDATE scope_total SET reserved = reserved - back.granted
        FROM (SELECT gone.scope, sum(granted) AS granted FROM gone GROUP BY gone.scope) AS back
        WHERE back.scope = scope_total.scope
    )
    SELECT count(*) INTO found FROM gone;
    RETURN found;
END
$$;

-- Everything that a process says and hears in one round trip. See `Batch` and `Written` in store.py.
CREATE FUNCTION sync(
    me text, number bigint, lease_seconds double precision, given json, asks json, watched text[], known bigint, sweep boolean
) RETURNS json LANGUAGE plpgsql
SET search_path FROM CURRENT
-- A server plans these statements once, when the tables are empty, and keeps the plan: by the indexes.
SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
    sums scope_total[];
    locked text[];
    ask record;
    mine record;
    others record;
    limit_nano bigint;
    spent_now bigint;
    has bigint;
    gets bigint;
    answers json[] := '{}';
    expired bigint := 0;
    latest bigint;
BEGIN
    IF json_array_length(given) > 0 THEN
        INSERT INTO entry (
            id, attempt, kind, corrects, session_id, customer_id, agent, step, provider, model, requested_model,
            input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens,
            reasoning_tokens, input_audio_tokens, output_audio_tokens, web_searches, file_searches, amount,
            amount_nano, usage_certainty, price_certainty, cached, unit_prices, price_source, started_at, ended_at,
            routed_from, routed_to, routed_why, error
        )
        SELECT
            id, attempt, kind, corrects, session_id, customer_id, agent, step, provider, model, requested_model,
            input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens,
            reasoning_tokens, input_audio_tokens, output_audio_tokens, web_searches, file_searches, amount,
            amount_nano, usage_certainty, price_certainty, cached, unit_prices, price_source, started_at, ended_at,
            routed_from, routed_to, routed_why, error
        FROM json_populate_recordset(NULL::entry, given)
        ON CONFLICT (id, attempt) DO NOTHING;

        WITH new AS (
            INSERT INTO charge (scope, entry)
            SELECT charged.scope, entry.seq
            FROM json_to_recordset(given) AS line (id text, attempt integer, scopes json)
            CROSS JOIN LATERAL json_array_elements_text(line.scopes) AS charged (scope)
            JOIN entry ON entry.id = line.id AND entry.attempt = line.attempt
            ON CONFLICT DO NOTHING
            RETURNING charge.scope, charge.entry
        )
        SELECT array_agg(ROW(scope, spent, calls, tokens, entries, first_at, last_at, 0)::scope_total ORDER BY scope)
        INTO sums
        FROM (
            SELECT
                new.scope AS scope, sum(spent) AS spent, sum(calls) AS calls, sum(tokens) AS tokens,
                count(*) AS entries, min(first_at) AS first_at, max(last_at) AS last_at
            FROM new JOIN counted ON counted.seq = new.entry GROUP BY new.scope
        ) AS by_scope;
    END IF;

    -- In one order for all, so that no two processes wait for each other. As late as possible: until its end
    -- the others wait.
    SELECT array_agg(DISTINCT scope ORDER BY scope) INTO locked FROM (
        SELECT scope COLLATE "C" AS scope FROM json_to_recordset(asks) AS asked (scope text)
        UNION SELECT scope FROM unnest(sums)
    ) AS needed;
    INSERT INTO scope_total (scope) SELECT unnest(locked) ON CONFLICT DO NOTHING;
    PERFORM 1 FROM scope_total WHERE scope = ANY (locked) ORDER BY scope FOR UPDATE;
    IF sums IS NOT NULL THEN
        UPDATE scope_total AS total SET
            spent = total.spent + new.spent,
            calls = total.calls + new.calls,
            tokens = total.tokens + new.tokens,
            entries = total.entries + new.entries,
            first_at = least(total.first_at, new.first_at),
            last_at = greatest(total.last_at, new.last_at),
            -- What these entries cost is spent now, and no longer set aside.
            reserved = total.reserved - coalesce(lent.granted - greatest(0, lent.granted - new.spent), 0)
        FROM unnest(sums) AS new LEFT JOIN LATERAL (
            SELECT granted FROM lease WHERE lease.scope = new.scope AND lease.owner = me OFFSET 0
        ) AS lent ON true
        WHERE new.scope = total.scope;
        -- In this form it goes by the index, however many leases there are.
        INSERT INTO lease (scope, owner, granted, idle, expires_at, recalled)
        SELECT new.scope, me, greatest(0, lent.granted - new.spent), lent.idle, lent.expires_at, lent.recalled
        FROM unnest(sums) AS new CROSS JOIN LATERAL (
            SELECT * FROM lease WHERE lease.scope = new.scope AND lease.owner = me OFFSET 0
        ) AS lent
        WHERE new.spent <> 0
        ON CONFLICT (scope, owner) DO UPDATE SET granted = excluded.granted;
    END IF;

    IF sweep THEN
        SELECT take_back(array_agg(scope)) INTO expired FROM (
            SELECT scope FROM scope_total
            WHERE scope IN (SELECT lease.scope FROM lease WHERE expires_at < clock() AND owner <> me)
            ORDER BY scope FOR UPDATE SKIP LOCKED
        ) AS free;
    END IF;

    FOR ask IN
        SELECT *
        FROM json_to_recordset(asks) AS asked (scope text, busy bigint, first bigint, least bigint, wish bigint)
        ORDER BY scope COLLATE "C"
    LOOP
        SELECT granted, recalled, asked INTO mine FROM lease WHERE scope = ask.scope AND owner = me;
        -- It was given up, and asked again, while it was under way: the answer to that is what its owner has.
        CONTINUE WHEN mine.asked > number;
        SELECT spent INTO spent_now FROM scope_total WHERE scope = ask.scope;
        has := coalesce(mine.granted, 0);
        limit_nano := NULL;
        SELECT usd_nano INTO limit_nano FROM cap WHERE scope = regexp_replace(ask.scope, '/[^/]*$', '');
        gets := 0;
        FOR attempt IN 1..2 LOOP
            SELECT
                coalesce(sum(granted), 0)::bigint AS granted,
                coalesce(sum(least(idle, granted)), 0)::bigint AS idle,
                count(*) AS leases
            INTO others FROM lease WHERE scope = ask.scope AND owner <> me;
            IF limit_nano IS NOT NULL THEN
                gets := granted(
                    ask.busy, ask.first, ask.least, ask.wish, has, limit_nano - spent_now - others.granted - has,
                    others.leases + 1
                );
            END IF;
            EXIT WHEN limit_nano IS NULL OR gets >= ask.least OR others.leases = 0 OR attempt = 2;
            EXIT WHEN take_back(ARRAY(
                SELECT DISTINCT scope FROM lease
                WHERE scope = ask.scope AND owner <> me AND expires_at < clock()
            )) = 0;
        END LOOP;
        IF gets < ask.least AND others.idle > 0 AND limit_nano IS NOT NULL THEN
            UPDATE lease SET recalled = 1 WHERE scope = ask.scope AND owner <> me AND idle > 0;
        END IF;
        IF gets > 0 THEN
            INSERT INTO lease (scope, owner, granted, idle, expires_at, asked)
            VALUES (
                ask.scope, me, gets,
                greatest(0, gets - CASE WHEN gets >= ask.least THEN ask.least ELSE ask.busy END),
                clock() + (lease_seconds * 1000000)::bigint, number
            )
            ON CONFLICT (scope, owner) DO UPDATE SET
                granted = excluded.granted, idle = excluded.idle, expires_at = excluded.expires_at, recalled = 0,
                asked = excluded.asked;
        ELSIF mine.granted IS NOT NULL THEN
            DELETE FROM lease WHERE scope = ask.scope AND owner = me;
        END IF;
        UPDATE scope_total SET reserved = others.granted + gets WHERE scope = ask.scope;
        answers := answers || json_build_array(
            ask.scope, gets, limit_nano, spent_now, others.granted - others.idle, coalesce(mine.recalled, 0) = 1
        );
    END LOOP;

    SELECT coalesce(max(version), 0) INTO latest FROM cap;
    RETURN json_build_object(
        'answers', to_json(answers),
        'recalled', (
            SELECT coalesce(json_agg(scope), '[]') FROM lease WHERE owner = me AND recalled = 1
        ),
        'spent', (
            SELECT coalesce(json_agg(json_build_array(scope, spent)), '[]')
            FROM scope_total WHERE scope = ANY (watched)
        ),
        'caps_version', latest,
        'caps', CASE WHEN latest <> known THEN (
            SELECT coalesce(
                json_agg(json_build_array(scope, usd, usd_nano, alert_at, period, timezone, plan_price)), '[]'
            ) FROM cap
        ) END,
        'expired', coalesce(expired, 0)
    );
END
$$;
