-- Digests: mails of what stayed unread, and why each was sent or not.

CREATE TABLE trunkline.digest (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id     text COLLATE "C" NOT NULL,
    -- Frozen when it was claimed.
    email       text NOT NULL,
    name        text,
    locale      text,
    time_zone   text NOT NULL,
    -- The same however often it is sent, so that a double can be told.
    message_id  text NOT NULL UNIQUE,
    items       bigint[] NOT NULL,
    -- claimed → data_sent (all but the final dot was taken, and the dot may be on its way) → sent. Or else: cancelled (nothing
    -- of it was unread any more), bounced (the address was refused), failed (given up), parked (after a break behind the dot,
    -- where uncertain mails aren't to be sent again by themselves).
    phase       text NOT NULL DEFAULT 'claimed'
                CHECK (phase IN ('claimed', 'data_sent', 'sent', 'cancelled', 'bounced', 'failed', 'parked')),
    -- Counts tries; who works on a try may go on only while it is the current one.
    attempt     integer NOT NULL DEFAULT 0,
    -- Phases claimed and data_sent: when the next try may begin, which is also when this one's lease ends.
    next_at     timestamptz,
    -- Set with the first break behind the dot.
    uncertain   boolean NOT NULL DEFAULT false,
    claimed_at  timestamptz NOT NULL,
    finished_at timestamptz,
    -- What the server answered, or what went wrong with the last try.
    reply       text
);
-- To be tried.
CREATE INDEX digest_next_at ON trunkline.digest (next_at) WHERE phase IN ('claimed', 'data_sent');
CREATE INDEX digest_user ON trunkline.digest (user_id, id);

-- What was decided about a user each time the worker looked, newest last: 'mailed', 'postponed', 'nothing', ….
CREATE TABLE trunkline.digest_decision (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id   text COLLATE "C" NOT NULL,
    at        timestamptz NOT NULL,
    decision  text NOT NULL,
    -- A sentence.
    reason    text NOT NULL,
    -- When it is looked at again; NULL: when something happens.
    next_at   timestamptz,
    digest_id bigint
);
CREATE INDEX digest_decision_user ON trunkline.digest_decision (user_id, id);
