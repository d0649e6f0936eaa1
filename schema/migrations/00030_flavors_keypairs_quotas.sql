-- +goose Up
CREATE TABLE flavors (
  id {{id}},
  flavorid {{key}} NOT NULL,
  name {{key}} NOT NULL,
  description {{longtext}} NULL,
  vcpus INTEGER NOT NULL,
  memory_mb INTEGER NOT NULL,
  root_gb INTEGER NOT NULL,
  ephemeral_gb INTEGER NOT NULL,
  swap_mb INTEGER NOT NULL,
  rxtx_factor DOUBLE PRECISION NOT NULL DEFAULT 1.0,
  is_public {{bool}} NOT NULL DEFAULT 1,
  disabled {{bool}} NOT NULL DEFAULT 0,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL DEFAULT 0         -- 0: never
) {{table}};
CREATE UNIQUE INDEX flavors_flavorid ON flavors (flavorid);
CREATE UNIQUE INDEX flavors_name ON flavors (name);

CREATE TABLE flavor_extra_specs (
  flavor_id BIGINT NOT NULL,
  name {{key}} NOT NULL,
  value {{key}} NOT NULL,
  PRIMARY KEY (flavor_id, name),
  FOREIGN KEY (flavor_id) REFERENCES flavors (id) ON DELETE CASCADE
) {{table}};

-- The projects that may use a private flavor.
CREATE TABLE flavor_access (
  flavor_id BIGINT NOT NULL,
  project_id {{key}} NOT NULL,
  PRIMARY KEY (flavor_id, project_id),
  FOREIGN KEY (flavor_id) REFERENCES flavors (id) ON DELETE CASCADE
) {{table}};
CREATE INDEX flavor_access_project ON flavor_access (project_id, flavor_id);

-- One row once the first flavors have been made, so that a deleted one stays deleted.
CREATE TABLE flavor_seeds (
  id INTEGER NOT NULL PRIMARY KEY,
  seeded_at BIGINT NOT NULL
) {{table}};

CREATE TABLE keypairs (
  id {{id}},
  user_id {{key}} NOT NULL,
  name {{key}} NOT NULL,
  type VARCHAR(16) NOT NULL,                   -- ssh, x509
  fingerprint {{key}} NOT NULL,
  public_key {{longtext}} NOT NULL,
  created_at BIGINT NOT NULL
) {{table}};
CREATE UNIQUE INDEX keypairs_user_name ON keypairs (user_id, name);

-- Limits that were set; what has no row follows the class "default" and then the built-in.
CREATE TABLE quota_limits (
  project_id {{key}} NOT NULL,
  user_id {{key}} NOT NULL,                    -- '' is the whole project
  resource VARCHAR(64) NOT NULL,
  hard_limit BIGINT NOT NULL,                  -- -1 is unlimited
  PRIMARY KEY (project_id, user_id, resource)
) {{table}};

CREATE TABLE quota_classes (
  class {{key}} NOT NULL,
  resource VARCHAR(64) NOT NULL,
  hard_limit BIGINT NOT NULL,
  PRIMARY KEY (class, resource)
) {{table}};

-- What the servers of a project, and of a user in it, add up to. Kept by the transactions
-- that make and delete servers.
CREATE TABLE quota_usages (
  project_id {{key}} NOT NULL,
  user_id {{key}} NOT NULL,                    -- '' is the whole project
  instances BIGINT NOT NULL DEFAULT 0,
  cores BIGINT NOT NULL DEFAULT 0,
  ram BIGINT NOT NULL DEFAULT 0,               -- MB
  PRIMARY KEY (project_id, user_id)
) {{table}};

-- +goose Down
DROP TABLE quota_usages;
DROP TABLE quota_classes;
DROP TABLE quota_limits;
DROP TABLE keypairs;
DROP TABLE flavor_seeds;
DROP TABLE flavor_access;
DROP TABLE flavor_extra_specs;
DROP TABLE flavors;
