-- Projects, who takes part, milestones and their tasks.

CREATE TABLE projects.project (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES projects.organisation,
    name            text NOT NULL CHECK (length(btrim(name)) BETWEEN 1 AND 120),
    summary         text NOT NULL DEFAULT '' CHECK (length(summary) <= 2000),
    status          text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'finished', 'archived')),
    due_on          date,
    created_by      bigint REFERENCES projects.person ON DELETE SET NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    version         bigint NOT NULL DEFAULT 1      -- counts with each update
);
CREATE INDEX project_organisation ON projects.project (organisation_id);

CREATE TABLE projects.membership (
    project_id bigint NOT NULL REFERENCES projects.project ON DELETE CASCADE,
    person_id  bigint NOT NULL REFERENCES projects.person ON DELETE CASCADE,
    role       text NOT NULL CHECK (role IN ('lead', 'staff', 'customer')),
    joined_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (project_id, person_id)
);
CREATE INDEX membership_person ON projects.membership (person_id);

CREATE TABLE projects.invitation (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id  bigint NOT NULL REFERENCES projects.project ON DELETE CASCADE,
    email       text NOT NULL CHECK (length(email) BETWEEN 3 AND 254),
    name        text NOT NULL DEFAULT '' CHECK (length(name) <= 100),
    role        text NOT NULL CHECK (role IN ('staff', 'customer')),
    invited_by  bigint REFERENCES projects.person ON DELETE SET NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz NOT NULL DEFAULT now() + interval '14 days',
    accepted_at timestamptz,
    accepted_by bigint REFERENCES projects.person ON DELETE SET NULL,
    revoked_at  timestamptz
);
CREATE INDEX invitation_project ON projects.invitation (project_id, id);
-- One open invitation per project and address.
CREATE UNIQUE INDEX invitation_open ON projects.invitation (project_id, lower(email)) WHERE accepted_at IS NULL AND revoked_at IS NULL;

-- What lets somebody in who has no session: hashes of secrets that stand in mails.
CREATE TABLE projects.token (
    hash          bytea PRIMARY KEY,
    purpose       text NOT NULL CHECK (purpose IN ('reset', 'invitation')),
    person_id     bigint REFERENCES projects.person ON DELETE CASCADE,       -- of a reset
    invitation_id bigint REFERENCES projects.invitation ON DELETE CASCADE,   -- of an invitation
    created_at    timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz NOT NULL,
    used_at       timestamptz,
    CHECK ((purpose = 'reset') = (person_id IS NOT NULL)),
    CHECK ((purpose = 'invitation') = (invitation_id IS NOT NULL))
);
CREATE INDEX token_person ON projects.token (person_id);
CREATE INDEX token_invitation ON projects.token (invitation_id);

-- Mails that are to be sent because somebody did something, each claimed by a worker and sent once it can be. The secret
-- in it is made when it is sent: no row ever holds one.
CREATE TABLE projects.letter (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    purpose       text NOT NULL CHECK (purpose IN ('reset', 'invitation')),
    person_id     bigint REFERENCES projects.person ON DELETE CASCADE,
    invitation_id bigint REFERENCES projects.invitation ON DELETE CASCADE,
    created_at    timestamptz NOT NULL DEFAULT now(),
    next_at       timestamptz NOT NULL DEFAULT now(),   -- when it is tried next
    attempts      integer NOT NULL DEFAULT 0,
    sent_at       timestamptz,
    failed_at     timestamptz,                          -- given up
    reply         text NOT NULL DEFAULT ''              -- what went wrong last
);
CREATE INDEX letter_next ON projects.letter (next_at) WHERE sent_at IS NULL AND failed_at IS NULL;
CREATE INDEX letter_person ON projects.letter (person_id);
CREATE INDEX letter_invitation ON projects.letter (invitation_id);

CREATE TABLE projects.milestone (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id bigint NOT NULL REFERENCES projects.project ON DELETE CASCADE,
    name       text NOT NULL CHECK (length(btrim(name)) BETWEEN 1 AND 120),
    due_on     date,
    rank       double precision NOT NULL,   -- order within the project
    version    bigint NOT NULL DEFAULT 1,
    UNIQUE (id, project_id)
);
CREATE INDEX milestone_project ON projects.milestone (project_id, rank, id);

CREATE TABLE projects.task (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id   bigint NOT NULL REFERENCES projects.project ON DELETE CASCADE,
    milestone_id bigint REFERENCES projects.milestone ON DELETE SET NULL,   -- NULL: in none
    title        text NOT NULL CHECK (length(btrim(title)) BETWEEN 1 AND 200),
    description  text NOT NULL DEFAULT '' CHECK (length(description) <= 10000),
    rank         double precision NOT NULL,               -- order within the milestone
    assignee_id  bigint REFERENCES projects.person ON DELETE SET NULL,
    due_on       date,
    completed_at timestamptz,                             -- NULL: outstanding
    completed_by bigint REFERENCES projects.person ON DELETE SET NULL,
    reopened_at  timestamptz,
    reopened_by  bigint REFERENCES projects.person ON DELETE SET NULL,
    created_by   bigint REFERENCES projects.person ON DELETE SET NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    version      bigint NOT NULL DEFAULT 1,               -- counts with each update
    -- A milestone is of the same project. Looked at when the transaction commits, since it also fits once a deleted milestone has
    -- become NULL.
    FOREIGN KEY (milestone_id, project_id) REFERENCES projects.milestone (id, project_id) DEFERRABLE INITIALLY DEFERRED
);
CREATE INDEX task_project ON projects.task (project_id, rank, id);
-- Finds the first outstanding tasks of a project in the order of its page, without the others being looked at. Those in no milestone
-- count as in milestone 0: an index isn't known to be in order behind an IS NULL.
CREATE INDEX task_outstanding ON projects.task (project_id, coalesce(milestone_id, 0), rank, id) WHERE completed_at IS NULL;
CREATE INDEX task_milestone ON projects.task (milestone_id);
CREATE INDEX task_assignee ON projects.task (assignee_id) WHERE completed_at IS NULL;

-- How far each project is: kept by triggers of task, so that nobody counts. Nothing is checked here: should a count ever be wrong, people
-- can still work until it is repaired.
CREATE TABLE projects.progress (
    project_id bigint PRIMARY KEY REFERENCES projects.project ON DELETE CASCADE,
    done       integer NOT NULL DEFAULT 0,
    total      integer NOT NULL DEFAULT 0,
    version    bigint NOT NULL DEFAULT 1   -- counts with each change
);

-- Who did what. Written by the program in the transaction that does it, and never changed.
CREATE TABLE projects.audit (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT now(),
    person_id  bigint REFERENCES projects.person ON DELETE SET NULL,
    project_id bigint REFERENCES projects.project ON DELETE CASCADE,   -- NULL: of no project, such as a new password
    action     text NOT NULL CHECK (length(action) BETWEEN 1 AND 64),  -- such as task.completed
    subject    text NOT NULL DEFAULT '' CHECK (length(subject) <= 200),-- such as task:17
    detail     jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_project ON projects.audit (project_id, id);
CREATE INDEX audit_person ON projects.audit (person_id, id);
