-- People, what they sign in with, and the organisations of staff.
--
-- A person's id, as text, is their user id wherever Trunkline asks for one. Staff belong to one organisation; customers to none:
-- they come into projects by invitation.

CREATE TABLE projects.organisation (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       text NOT NULL CHECK (length(btrim(name)) BETWEEN 1 AND 100),
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE projects.person (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint REFERENCES projects.organisation,   -- NULL: a customer
    admin           boolean NOT NULL DEFAULT false,            -- of the organisation: sees and changes all its projects
    email           text NOT NULL CHECK (length(email) BETWEEN 3 AND 254),
    name            text NOT NULL CHECK (length(btrim(name)) BETWEEN 1 AND 100),
    company         text NOT NULL DEFAULT '' CHECK (length(company) <= 100),
    time_zone       text NOT NULL DEFAULT '' CHECK (length(time_zone) <= 64),   -- IANA; '': the site's
    locale          text NOT NULL DEFAULT '' CHECK (length(locale) <= 35),      -- BCP 47; '': the site's
    password_hash   text,                                      -- argon2id in PHC form; NULL: can't sign in by password
    demo            boolean NOT NULL DEFAULT false,            -- one click away where the demo is shown
    created_at      timestamptz NOT NULL DEFAULT now(),
    deactivated_at  timestamptz,
    CHECK (NOT admin OR organisation_id IS NOT NULL)
);
CREATE UNIQUE INDEX person_email ON projects.person (lower(email));
CREATE INDEX person_organisation ON projects.person (organisation_id);

-- One row for each place where somebody is signed in. Of the cookie's secret only a hash is kept.
CREATE TABLE projects.session (
    id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),   -- public: also the jti of connection tokens
    person_id     bigint NOT NULL REFERENCES projects.person ON DELETE CASCADE,
    token_hash    bytea NOT NULL UNIQUE,
    previous_hash bytea UNIQUE,                                 -- good for a minute after a rotation, for requests under way
    created_at    timestamptz NOT NULL DEFAULT now(),
    rotated_at    timestamptz NOT NULL DEFAULT now(),
    used_at       timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz NOT NULL,
    user_agent    text NOT NULL DEFAULT '',
    address       text NOT NULL DEFAULT ''
);
CREATE INDEX session_person ON projects.session (person_id);
CREATE INDEX session_expires ON projects.session (expires_at);

-- Failed attempts to sign in or to guess a token, by what is throttled: 'email:…' (hashed) or 'address:…'.
CREATE TABLE projects.attempt (
    subject text NOT NULL,
    at      timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX attempt_subject ON projects.attempt (subject, at);
CREATE INDEX attempt_at ON projects.attempt (at);

-- Secrets of the site that all nodes share, such as the key that connection tokens are signed with.
CREATE TABLE projects.secret (
    name  text PRIMARY KEY,
    value bytea NOT NULL
);
