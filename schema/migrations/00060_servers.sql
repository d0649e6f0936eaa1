-- +goose Up
CREATE TABLE servers (
  id {{id}},
  uuid {{uuid}} NOT NULL,
  project_id {{key}} NOT NULL,
  user_id {{key}} NOT NULL,
  name {{key}} NOT NULL,
  hostname {{key}} NOT NULL,
  description {{key}} NULL,
  vm_state VARCHAR(32) NOT NULL,
  task_state VARCHAR(64) NULL,
  power_state INTEGER NOT NULL DEFAULT 0,
  progress INTEGER NOT NULL DEFAULT 0,
  -- Every change of state adds one: work that was begun for an older generation changes nothing.
  generation BIGINT NOT NULL DEFAULT 1,
  host {{key}} NULL,
  node {{key}} NULL,
  -- the flavor as it was at boot
  flavor_id {{key}} NOT NULL,
  flavor_name {{key}} NOT NULL,
  vcpus INTEGER NOT NULL,
  memory_mb INTEGER NOT NULL,
  root_gb INTEGER NOT NULL,
  ephemeral_gb INTEGER NOT NULL,
  swap_mb INTEGER NOT NULL,
  extra_specs {{text}} NOT NULL,               -- JSON object of strings
  image_id {{key}} NOT NULL,                   -- '' when volume-backed
  image_meta {{text}} NOT NULL,                -- JSON: work.Image without its source
  metadata {{longtext}} NOT NULL,              -- JSON object of strings
  key_name {{key}} NULL,
  key_data {{text}} NULL,                      -- JSON: work.Key
  user_data {{longtext}} NULL,
  files {{longtext}} NULL,                     -- JSON list of work.File
  config_drive {{bool}} NOT NULL DEFAULT 0,
  access_ip_v4 {{key}} NOT NULL DEFAULT '',
  access_ip_v6 {{key}} NOT NULL DEFAULT '',
  disk_config VARCHAR(16) NOT NULL,
  requested_zone {{key}} NULL,                 -- as asked at create
  zone {{key}} NULL,                           -- the host's, when there is one
  pinned_zone {{key}} NULL,
  launch_index INTEGER NOT NULL DEFAULT 0,
  reservation_id {{key}} NOT NULL,
  root_device_name {{key}} NULL,
  security_groups {{text}} NOT NULL,           -- JSON list of names, as asked at create
  scheduler_hints {{text}} NOT NULL,           -- JSON object
  trusted_certs {{text}} NULL,                 -- JSON list
  locked_by VARCHAR(16) NULL,                  -- owner, admin; NULL is unlocked
  locked_reason {{key}} NULL,
  -- Capacity held on host: what deleting, resizing or giving up must give back.
  claimed {{bool}} NOT NULL DEFAULT 0,
  attempts INTEGER NOT NULL DEFAULT 0,         -- hosts tried for the first spawn
  tried_hosts {{text}} NULL,                   -- JSON list
  old_state {{longtext}} NULL,                 -- JSON: what a resize or rebuild must be able to bring back
  fault_code INTEGER NOT NULL DEFAULT 0,       -- 0: none
  fault_message {{text}} NULL,
  fault_details {{text}} NULL,
  fault_at BIGINT NOT NULL DEFAULT 0,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  launched_at BIGINT NOT NULL DEFAULT 0,
  terminated_at BIGINT NOT NULL DEFAULT 0,
  deleted {{bool}} NOT NULL DEFAULT 0
) {{table}};
CREATE UNIQUE INDEX servers_uuid ON servers (uuid);
CREATE INDEX servers_project ON servers (project_id, deleted, created_at, id);
CREATE INDEX servers_all ON servers (deleted, created_at, id);
CREATE INDEX servers_host ON servers (host, deleted, id);
CREATE INDEX servers_state ON servers (deleted, vm_state, power_state);
CREATE INDEX servers_updated ON servers (project_id, updated_at);

CREATE TABLE server_tags (
  server_id BIGINT NOT NULL,
  tag {{key}} NOT NULL,
  PRIMARY KEY (server_id, tag)
) {{table}};
CREATE INDEX server_tags_tag ON server_tags (tag, server_id);

CREATE TABLE instance_actions (
  id {{id}},
  server_uuid {{uuid}} NOT NULL,
  request_id {{key}} NOT NULL,
  action {{key}} NOT NULL,
  user_id {{key}} NOT NULL,
  project_id {{key}} NOT NULL,
  message {{key}} NULL,                        -- NULL or Error
  start_time BIGINT NOT NULL,
  updated_at BIGINT NOT NULL
) {{table}};
CREATE INDEX instance_actions_server ON instance_actions (server_uuid, id);
CREATE INDEX instance_actions_request ON instance_actions (server_uuid, request_id);

CREATE TABLE instance_events (
  id {{id}},
  action_id BIGINT NOT NULL,
  event {{key}} NOT NULL,
  host {{key}} NULL,
  start_time BIGINT NOT NULL,
  finish_time BIGINT NOT NULL DEFAULT 0,
  result VARCHAR(16) NULL,                     -- Success, Error, NULL while running
  traceback {{text}} NULL,
  details {{text}} NULL
) {{table}};
CREATE INDEX instance_events_action ON instance_events (action_id);

-- A piece of work for a host: made by the API in the transaction that changes the server,
-- carried out and marked done or failed by the host, applied and removed by the API.
CREATE TABLE work (
  id {{id}},
  host {{key}} NOT NULL,
  server_id BIGINT NOT NULL,
  server_uuid {{uuid}} NOT NULL,
  kind VARCHAR(32) NOT NULL,
  args {{longtext}} NOT NULL,                  -- JSON: work.Args
  generation BIGINT NOT NULL,                  -- of the server, when the work was made
  action_id BIGINT NOT NULL DEFAULT 0,         -- the instance action, 0 for none
  deadline BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  -- written by the host
  state VARCHAR(16) NOT NULL,                  -- queued, running, done, failed
  claimed_by {{key}} NOT NULL DEFAULT '',
  lease_until BIGINT NOT NULL DEFAULT 0,
  attempts INTEGER NOT NULL DEFAULT 0,
  phase VARCHAR(64) NOT NULL DEFAULT '',       -- the workflow step being done
  result {{longtext}} NULL,                    -- JSON: work.Result
  started_at BIGINT NOT NULL DEFAULT 0,
  finished_at BIGINT NOT NULL DEFAULT 0
) {{table}};
CREATE INDEX work_host ON work (host, state, id);
CREATE INDEX work_state ON work (state, id);
CREATE INDEX work_deadline ON work (deadline);
CREATE INDEX work_server ON work (server_uuid, id);

-- +goose Down
DROP TABLE work;
DROP TABLE instance_events;
DROP TABLE instance_actions;
DROP TABLE server_tags;
DROP TABLE servers;
