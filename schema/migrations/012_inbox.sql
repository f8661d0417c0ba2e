-- The inbox: notifications kept per user, with what was seen and read of them, and counts that are kept and not counted.
--
-- notify only inserts, so that two transactions that notify the same users in opposite order never wait for each other. A
-- keeper (one at a time, in any program that runs the inbox; see inbox_keep) gives each notification its place in the user's
-- inbox (seq), adjusts the counts and publishes them on inbox:<user>, in a short transaction of its own. What changes or
-- removes notifications leaves the difference in inbox_change, for the same reason, and the keeper folds it in.

-- What notifications can be about. One that isn't here gets defaults: its own name as title, the default delay.
CREATE TABLE trunkline.kind (
    name       text COLLATE "C" PRIMARY KEY,
    -- For people: 'Task completed'.
    title      text NOT NULL,
    -- One line about a notification, with {names} of its data: '{actor} completed {task.title}'. NULL: the title.
    template   text,
    -- How long it may stay unread before it is mailed, unless the user prefers otherwise. NULL: the default of four hours.
    delay      interval,
    -- The application's function (user_id text, "group" text, action text) → boolean, stored as schema.name: asked with action
    -- 'mail' whether the user may still see the group, before anything of it is mailed. NULL: it isn't asked.
    authorize  text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE trunkline.notification (
    id            bigint GENERATED ALWAYS AS IDENTITY (CACHE 1) PRIMARY KEY,
    user_id       text COLLATE "C" NOT NULL,
    -- Its place in the user's inbox: rises in the order things became visible, so that "all up to what I was shown" can be
    -- said with one number. NULL until the keeper has placed it. What comes back from a snooze gets a new one.
    seq           bigint,
    kind          text COLLATE "C" NOT NULL,
    -- What it belongs to, such as a project or a conversation: 'project:7'.
    "group"       text COLLATE "C",
    -- What it is about, such as a task: with that gone, retract(cause) removes it.
    cause         text COLLATE "C",
    dedupe_key    text COLLATE "C",
    link          text,
    data          json NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at    timestamptz,
    seen_at       timestamptz,
    read_at       timestamptz,
    archived_at   timestamptz,
    snoozed_until timestamptz,
    -- The digest that it was mailed with or is about to be; NULL: none. Released again where that one failed.
    digest_id     bigint
) WITH (fillfactor = 90);

COMMENT ON TABLE trunkline.notification IS 'Notifications of users, kept until they expire or their cause is retracted.';

-- To be placed by the keeper.
CREATE INDEX notification_unplaced ON trunkline.notification (id) WHERE seq IS NULL;
CREATE UNIQUE INDEX notification_user_seq ON trunkline.notification (user_id, seq);
CREATE UNIQUE INDEX notification_user_dedupe_key ON trunkline.notification (user_id, dedupe_key) WHERE dedupe_key IS NOT NULL;
CREATE INDEX notification_group ON trunkline.notification ("group", user_id, seq) WHERE "group" IS NOT NULL;
CREATE INDEX notification_cause ON trunkline.notification (cause) WHERE cause IS NOT NULL;
CREATE INDEX notification_expires_at ON trunkline.notification (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX notification_snoozed_until ON trunkline.notification (snoozed_until) WHERE snoozed_until IS NOT NULL;
-- Unread ones, for the inbox that shows nothing else and for digests.
CREATE INDEX notification_unread ON trunkline.notification (user_id, seq) WHERE read_at IS NULL AND archived_at IS NULL;

-- One row a user that ever had a notification.
CREATE TABLE trunkline.inbox (
    user_id  text COLLATE "C" PRIMARY KEY,
    last_seq bigint NOT NULL DEFAULT 0,
    unseen   integer NOT NULL DEFAULT 0,
    unread   integer NOT NULL DEFAULT 0,
    -- Rises with each push, so that a client can ignore what is older than what it has.
    version  bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

-- Differences that the keeper hasn't folded into the counts yet: a row for each user whose placed notifications a statement has
-- changed or removed.
CREATE TABLE trunkline.inbox_change (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id text COLLATE "C" NOT NULL,
    unseen  integer NOT NULL,
    unread  integer NOT NULL,
    -- What is pushed of it: {"changed": [{id, seq, seen_at, read_at, archived_at, snoozed_until}], "removed": [id]}; NULL: too much, clients read anew.
    push    json
);
CREATE INDEX inbox_change_user ON trunkline.inbox_change (user_id);

-- Who is to be looked at by the digest worker, and when at the earliest. It is a lower bound: the worker finds out what is
-- really due, and writes when to look again. Whatever may make mail due earlier (a preference, an address) sets it to now.
CREATE TABLE trunkline.digest_due (
    user_id text COLLATE "C" PRIMARY KEY,
    due_at  timestamptz NOT NULL
) WITH (fillfactor = 80);
CREATE INDEX digest_due_at ON trunkline.digest_due (due_at, user_id);
