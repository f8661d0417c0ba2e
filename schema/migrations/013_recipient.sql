-- Recipients of mail, and what each of them prefers.

CREATE TABLE trunkline.recipient (
    user_id       text COLLATE "C" PRIMARY KEY,
    -- NULL: no mail. Where recipients are read through a view of the application's, that view's address counts.
    email         text,
    name          text,
    -- IANA, such as Europe/Berlin. NULL: the site's.
    time_zone     text,
    -- BCP 47, such as de or pt-BR. NULL: the site's.
    locale        text,
    -- When the user last did something: see touch.
    active_at     timestamptz,
    -- Addresses that refuse mail: each hard bounce adds one, and half of it is forgotten every 30 days. From 3 on no mail is
    -- sent until enough is forgotten or the address changes.
    bounces       double precision NOT NULL DEFAULT 0,
    bounced_at    timestamptz,
    bounce_reason text,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now()
);

-- When mail of a kind goes out; kind '' holds for all that have no row of their own.
CREATE TABLE trunkline.mail_preference (
    user_id  text COLLATE "C" NOT NULL,
    kind     text COLLATE "C" NOT NULL DEFAULT '',
    mail     text NOT NULL CHECK (mail IN ('at_once', 'after', 'daily', 'never')),
    -- With after.
    delay    interval,
    -- With daily: in the user's zone.
    daily_at time,
    PRIMARY KEY (user_id, kind)
);

-- One row a user: what holds for all kinds.
CREATE TABLE trunkline.mail_setting (
    user_id        text COLLATE "C" PRIMARY KEY,
    time_zone      text,
    -- Nothing is mailed from one time to the other, in the user's zone; the second may be on the next day.
    quiet_from     time,
    quiet_to       time,
    vacation_until timestamptz
);

-- Nothing of the group is mailed to the user; it stays in the inbox.
CREATE TABLE trunkline.mute (
    user_id text COLLATE "C" NOT NULL,
    "group" text COLLATE "C" NOT NULL,
    PRIMARY KEY (user_id, "group")
);

-- Tokens of links in mails that unsubscribe without signing in. Only the SHA-256 of each is here.
CREATE TABLE trunkline.unsubscribe_token (
    hash       bytea PRIMARY KEY CHECK (octet_length(hash) = 32),
    user_id    text COLLATE "C" NOT NULL,
    -- The kinds it may switch off, besides all at once.
    kinds      text[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    used_at    timestamptz
);
CREATE INDEX unsubscribe_token_created_at ON trunkline.unsubscribe_token (created_at);
