-- What people make can have a key of its maker's: who sends the same again, not knowing whether it arrived, makes nothing more, whatever
-- node it reaches. Who makes things in SQL needs none.

ALTER TABLE projects.project ADD client_key text CHECK (octet_length(client_key) BETWEEN 1 AND 64);
ALTER TABLE projects.task ADD client_key text CHECK (octet_length(client_key) BETWEEN 1 AND 64);
ALTER TABLE projects.milestone ADD client_key text CHECK (octet_length(client_key) BETWEEN 1 AND 64),
    ADD created_by bigint REFERENCES projects.person ON DELETE SET NULL;
ALTER TABLE projects.conversation ADD client_key text CHECK (octet_length(client_key) BETWEEN 1 AND 64);

-- Each ends with _client_key: the program tries again what violates one, and then finds what was made.
CREATE UNIQUE INDEX project_client_key ON projects.project (created_by, client_key) WHERE client_key IS NOT NULL;
CREATE UNIQUE INDEX task_client_key ON projects.task (created_by, client_key) WHERE client_key IS NOT NULL;
CREATE UNIQUE INDEX milestone_client_key ON projects.milestone (created_by, client_key) WHERE client_key IS NOT NULL;
CREATE UNIQUE INDEX conversation_client_key ON projects.conversation (created_by, client_key) WHERE client_key IS NOT NULL;
