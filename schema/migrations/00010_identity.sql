-- +goose Up
-- The one row whose version grows with each change that may alter what an issued token is
-- worth. Such a change takes the row first, so that changes commit in the order of their
-- versions, and API processes that poll the row know when to forget what they remember.
CREATE TABLE identity_version (
  id INTEGER NOT NULL PRIMARY KEY,
  version BIGINT NOT NULL
) {{table}};
INSERT INTO identity_version (id, version) VALUES (1, 1);

CREATE TABLE identity_domains (
  id VARCHAR(64) NOT NULL PRIMARY KEY,
  name {{nocase}} NOT NULL,
  description {{text}} NOT NULL,
  enabled {{bool}} NOT NULL,
  extra {{longtext}} NOT NULL,                 -- JSON: what clients set and kilonova does not know
  created_at BIGINT NOT NULL,
  CONSTRAINT identity_domain_name UNIQUE (name)
) {{table}};

CREATE TABLE identity_projects (
  id VARCHAR(64) NOT NULL PRIMARY KEY,
  domain_id VARCHAR(64) NOT NULL,
  parent_id VARCHAR(64) NOT NULL,              -- a project, or the domain
  name {{nocase}} NOT NULL,
  description {{text}} NOT NULL,
  enabled {{bool}} NOT NULL,
  tags {{longtext}} NOT NULL,                  -- JSON list
  extra {{longtext}} NOT NULL,
  created_at BIGINT NOT NULL,
  CONSTRAINT identity_project_name UNIQUE (domain_id, name),
  CONSTRAINT identity_project_domain FOREIGN KEY (domain_id) REFERENCES identity_domains (id) ON DELETE CASCADE
) {{table}};
CREATE INDEX identity_project_parent ON identity_projects (parent_id);
CREATE INDEX identity_project_by_name ON identity_projects (name);

CREATE TABLE identity_users (
  id VARCHAR(64) NOT NULL PRIMARY KEY,
  domain_id VARCHAR(64) NOT NULL,
  name {{nocase}} NOT NULL,
  enabled {{bool}} NOT NULL,
  default_project_id VARCHAR(64) NOT NULL,     -- '' for none
  password_hash VARCHAR(128) NOT NULL,         -- '' for an account without a password
  extra {{longtext}} NOT NULL,
  created_at BIGINT NOT NULL,
  CONSTRAINT identity_user_name UNIQUE (domain_id, name),
  CONSTRAINT identity_user_domain FOREIGN KEY (domain_id) REFERENCES identity_domains (id) ON DELETE CASCADE
) {{table}};
CREATE INDEX identity_user_by_name ON identity_users (name);

CREATE TABLE identity_groups (
  id VARCHAR(64) NOT NULL PRIMARY KEY,
  domain_id VARCHAR(64) NOT NULL,
  name {{nocase}} NOT NULL,
  description {{text}} NOT NULL,
  extra {{longtext}} NOT NULL,
  created_at BIGINT NOT NULL,
  CONSTRAINT identity_group_name UNIQUE (domain_id, name),
  CONSTRAINT identity_group_domain FOREIGN KEY (domain_id) REFERENCES identity_domains (id) ON DELETE CASCADE
) {{table}};

CREATE TABLE identity_memberships (
  group_id VARCHAR(64) NOT NULL,
  user_id VARCHAR(64) NOT NULL,
  PRIMARY KEY (group_id, user_id),
  CONSTRAINT identity_member_group FOREIGN KEY (group_id) REFERENCES identity_groups (id) ON DELETE CASCADE,
  CONSTRAINT identity_member_user FOREIGN KEY (user_id) REFERENCES identity_users (id) ON DELETE CASCADE
) {{table}};
CREATE INDEX identity_member_by_user ON identity_memberships (user_id);

CREATE TABLE identity_roles (
  id VARCHAR(64) NOT NULL PRIMARY KEY,
  name {{nocase}} NOT NULL,
  description {{text}} NULL,
  extra {{longtext}} NOT NULL,
  created_at BIGINT NOT NULL,
  CONSTRAINT identity_role_name UNIQUE (name)
) {{table}};

CREATE TABLE identity_implied_roles (
  prior_id VARCHAR(64) NOT NULL,
  implied_id VARCHAR(64) NOT NULL,
  PRIMARY KEY (prior_id, implied_id),
  CONSTRAINT identity_implied_prior FOREIGN KEY (prior_id) REFERENCES identity_roles (id) ON DELETE CASCADE,
  CONSTRAINT identity_implied_implied FOREIGN KEY (implied_id) REFERENCES identity_roles (id) ON DELETE CASCADE
) {{table}};

-- Who has which role where. An actor is a user or a group; a target is a project, a domain
-- or the system, whose id is 'all'.
CREATE TABLE identity_grants (
  actor_kind VARCHAR(8) NOT NULL,
  actor_id VARCHAR(64) NOT NULL,
  target_kind VARCHAR(8) NOT NULL,
  target_id VARCHAR(64) NOT NULL,
  role_id VARCHAR(64) NOT NULL,
  PRIMARY KEY (actor_kind, actor_id, target_kind, target_id, role_id),
  CONSTRAINT identity_grant_role FOREIGN KEY (role_id) REFERENCES identity_roles (id) ON DELETE CASCADE
) {{table}};
CREATE INDEX identity_grant_target ON identity_grants (target_kind, target_id);
CREATE INDEX identity_grant_by_role ON identity_grants (role_id);

CREATE TABLE identity_regions (
  id {{key}} NOT NULL PRIMARY KEY,
  parent_id {{key}} NOT NULL,                  -- '' for none
  description {{text}} NOT NULL,
  extra {{longtext}} NOT NULL
) {{table}};

CREATE TABLE identity_services (
  id VARCHAR(64) NOT NULL PRIMARY KEY,
  type {{key}} NOT NULL,
  name {{key}} NOT NULL,
  description {{text}} NOT NULL,
  enabled {{bool}} NOT NULL,
  extra {{longtext}} NOT NULL,
  created_at BIGINT NOT NULL
) {{table}};

CREATE TABLE identity_endpoints (
  id VARCHAR(64) NOT NULL PRIMARY KEY,
  service_id VARCHAR(64) NOT NULL,
  interface VARCHAR(8) NOT NULL,               -- public, internal, admin
  region_id {{key}} NOT NULL,                  -- '' for none
  url {{text}} NOT NULL,                       -- absolute, or {base} and a path: where the request came in
  enabled {{bool}} NOT NULL,
  extra {{longtext}} NOT NULL,
  created_at BIGINT NOT NULL,
  CONSTRAINT identity_endpoint_service FOREIGN KEY (service_id) REFERENCES identity_services (id) ON DELETE CASCADE
) {{table}};

CREATE TABLE identity_app_credentials (
  id VARCHAR(64) NOT NULL PRIMARY KEY,
  user_id VARCHAR(64) NOT NULL,
  project_id VARCHAR(64) NOT NULL,
  name {{nocase}} NOT NULL,
  description {{text}} NULL,
  secret_hash VARCHAR(128) NOT NULL,
  unrestricted {{bool}} NOT NULL,
  expires_at BIGINT NOT NULL,                  -- 0 for never
  created_at BIGINT NOT NULL,
  CONSTRAINT identity_app_credential_name UNIQUE (user_id, name),
  CONSTRAINT identity_app_credential_user FOREIGN KEY (user_id) REFERENCES identity_users (id) ON DELETE CASCADE,
  CONSTRAINT identity_app_credential_project FOREIGN KEY (project_id) REFERENCES identity_projects (id) ON DELETE CASCADE
) {{table}};

CREATE TABLE identity_app_credential_roles (
  credential_id VARCHAR(64) NOT NULL,
  role_id VARCHAR(64) NOT NULL,
  PRIMARY KEY (credential_id, role_id),
  CONSTRAINT identity_app_role_credential FOREIGN KEY (credential_id) REFERENCES identity_app_credentials (id) ON DELETE CASCADE,
  CONSTRAINT identity_app_role_role FOREIGN KEY (role_id) REFERENCES identity_roles (id) ON DELETE CASCADE
) {{table}};

-- What makes tokens worthless before they expire. A row means all tokens issued up to
-- issued_before that match each of its ids; '' matches any.
CREATE TABLE identity_revocations (
  id {{id}},
  version BIGINT NOT NULL,                     -- of identity_version, which the change made
  audit_id VARCHAR(32) NOT NULL,
  user_id VARCHAR(64) NOT NULL,
  scope VARCHAR(80) NOT NULL,                  -- project:ID, domain:ID or system:all
  domain_id VARCHAR(64) NOT NULL,              -- of the user, of the project, or the scope
  issued_before BIGINT NOT NULL,
  expires_at BIGINT NOT NULL                   -- no such token can be alive after this
) {{table}};
CREATE INDEX identity_revocation_version ON identity_revocations (version);
CREATE INDEX identity_revocation_expiry ON identity_revocations (expires_at);

-- +goose Down
DROP TABLE identity_revocations;
DROP TABLE identity_app_credential_roles;
DROP TABLE identity_app_credentials;
DROP TABLE identity_endpoints;
DROP TABLE identity_services;
DROP TABLE identity_regions;
DROP TABLE identity_grants;
DROP TABLE identity_implied_roles;
DROP TABLE identity_roles;
DROP TABLE identity_memberships;
DROP TABLE identity_groups;
DROP TABLE identity_users;
DROP TABLE identity_projects;
DROP TABLE identity_domains;
DROP TABLE identity_version;
