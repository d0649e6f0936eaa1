-- +goose Up
-- By which the names of identity are compared: worked out by the program, so that no
-- collation decides which names are one. NULL is a row of a release that knew no keys; the
-- next process to start fills it in.
ALTER TABLE identity_domains ADD COLUMN name_key {{key}} NULL;
ALTER TABLE identity_projects ADD COLUMN name_key {{key}} NULL;
ALTER TABLE identity_users ADD COLUMN name_key {{key}} NULL;
ALTER TABLE identity_groups ADD COLUMN name_key {{key}} NULL;
ALTER TABLE identity_roles ADD COLUMN name_key {{key}} NULL;
ALTER TABLE identity_app_credentials ADD COLUMN name_key {{key}} NULL;
CREATE UNIQUE INDEX identity_domain_key ON identity_domains (name_key);
CREATE UNIQUE INDEX identity_project_key ON identity_projects (domain_id, name_key);
CREATE INDEX identity_project_by_key ON identity_projects (name_key);
CREATE UNIQUE INDEX identity_user_key ON identity_users (domain_id, name_key);
CREATE INDEX identity_user_by_key ON identity_users (name_key);
CREATE UNIQUE INDEX identity_group_key ON identity_groups (domain_id, name_key);
CREATE INDEX identity_group_by_key ON identity_groups (name_key);
CREATE UNIQUE INDEX identity_role_key ON identity_roles (name_key);
CREATE UNIQUE INDEX identity_app_credential_key ON identity_app_credentials (user_id, name_key);

-- +goose Down
-- The columns stay: the release before does not look at them.
SELECT 1;
