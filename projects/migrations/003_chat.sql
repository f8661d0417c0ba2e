-- Conversations, messages, who has read what, and attachments.

CREATE TABLE projects.conversation (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id      bigint NOT NULL REFERENCES projects.project ON DELETE CASCADE,
    task_id         bigint UNIQUE REFERENCES projects.task ON DELETE SET NULL,   -- NULL: about no single task
    subject         text NOT NULL CHECK (length(btrim(subject)) BETWEEN 1 AND 200),
    created_by      bigint REFERENCES projects.person ON DELETE SET NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    last_seq        bigint NOT NULL DEFAULT 0,       -- of its newest message
    last_message_at timestamptz,
    awaiting_since  timestamptz,                     -- a customer's message that no staff has answered yet; NULL: none
    version         bigint NOT NULL DEFAULT 1
);
CREATE INDEX conversation_project ON projects.conversation (project_id, id);
CREATE INDEX conversation_awaiting ON projects.conversation (project_id) WHERE awaiting_since IS NOT NULL;

CREATE TABLE projects.message (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    conversation_id bigint NOT NULL REFERENCES projects.conversation ON DELETE CASCADE,
    seq             bigint NOT NULL,                 -- 1, 2, 3 … within the conversation, without gaps
    author_id       bigint REFERENCES projects.person ON DELETE SET NULL,
    client_key      text NOT NULL CHECK (length(client_key) BETWEEN 1 AND 64),   -- the author's: a repeated send has the same
    body            text NOT NULL CHECK (length(body) <= 20000),   -- Markdown as written; '' once deleted
    html            text NOT NULL,                   -- sanitised
    created_at      timestamptz NOT NULL DEFAULT now(),
    edited_at       timestamptz,
    deleted_at      timestamptz,                     -- a tombstone: body and html are empty
    deleted_by      bigint REFERENCES projects.person ON DELETE SET NULL,
    version         bigint NOT NULL DEFAULT 1,
    search          tsvector GENERATED ALWAYS AS (to_tsvector('simple', body)) STORED,
    UNIQUE (conversation_id, seq),
    UNIQUE (conversation_id, author_id, client_key)
);
CREATE INDEX message_search ON projects.message USING gin (search);

-- What a message said before it was edited, oldest first.
CREATE TABLE projects.message_edit (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id bigint NOT NULL REFERENCES projects.message ON DELETE CASCADE,
    body       text NOT NULL,
    written_at timestamptz NOT NULL
);
CREATE INDEX message_edit_message ON projects.message_edit (message_id, id);

-- How far each person has read: up to what was displayed.
CREATE TABLE projects.reader (
    conversation_id bigint NOT NULL REFERENCES projects.conversation ON DELETE CASCADE,
    person_id       bigint NOT NULL REFERENCES projects.person ON DELETE CASCADE,
    read_seq        bigint NOT NULL DEFAULT 0,
    read_at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (conversation_id, person_id)
);
CREATE INDEX reader_person ON projects.reader (person_id);

CREATE TABLE projects.attachment (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    conversation_id bigint NOT NULL REFERENCES projects.conversation ON DELETE CASCADE,
    message_id      bigint REFERENCES projects.message ON DELETE CASCADE,   -- NULL: uploaded, not sent yet; removed after a day
    uploaded_by     bigint REFERENCES projects.person ON DELETE SET NULL,
    name            text NOT NULL CHECK (length(name) BETWEEN 1 AND 255),
    media_type      text NOT NULL,                   -- as sniffed, not as claimed
    size            bigint NOT NULL,
    content         bytea NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE projects.attachment ALTER COLUMN content SET STORAGE EXTERNAL;   -- mostly compressed already
CREATE INDEX attachment_message ON projects.attachment (message_id);
CREATE INDEX attachment_conversation ON projects.attachment (conversation_id);
CREATE INDEX attachment_unsent ON projects.attachment (created_at) WHERE message_id IS NULL;

-- Which notification somebody has of which message, until they have read that far: reading marks them in the same transaction.
CREATE TABLE projects.notice (
    notification_id bigint PRIMARY KEY,
    person_id       bigint NOT NULL REFERENCES projects.person ON DELETE CASCADE,
    message_id      bigint NOT NULL REFERENCES projects.message ON DELETE CASCADE,
    conversation_id bigint NOT NULL REFERENCES projects.conversation ON DELETE CASCADE,
    seq             bigint NOT NULL                   -- the message's
);
CREATE INDEX notice_unread ON projects.notice (person_id, conversation_id, seq);
CREATE INDEX notice_message ON projects.notice (message_id);
CREATE INDEX notice_conversation ON projects.notice (conversation_id);
