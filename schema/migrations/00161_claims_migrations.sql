-- +goose Up
-- What a server holds of a host, and what for: what is given back is the sum of the rows
-- that go.
CREATE TABLE claims (
  id {{id}},
  server_uuid {{uuid}} NOT NULL,
  host {{key}} NOT NULL,
  purpose VARCHAR(16) NOT NULL,                -- server, resize
  vcpus INTEGER NOT NULL,
  memory_mb INTEGER NOT NULL,
  disk_gb INTEGER NOT NULL,
  pool VARCHAR(64) NOT NULL DEFAULT '',        -- of the disk; '' is the host's own
  created_at BIGINT NOT NULL
) {{table}};
CREATE INDEX claims_server ON claims (server_uuid, id);
CREATE INDEX claims_host ON claims (host, id);

-- Whatever takes a server to another flavor or host; kept when it is over.
CREATE TABLE migrations (
  id {{id}},
  uuid {{uuid}} NOT NULL,
  server_uuid {{uuid}} NOT NULL,
  project_id {{key}} NOT NULL,                 -- of who asked, as user_id is
  user_id {{key}} NOT NULL,
  kind VARCHAR(16) NOT NULL,                   -- resize, migration, live-migration, evacuation
  status VARCHAR(16) NOT NULL,
  source_host {{key}} NOT NULL,
  source_node {{key}} NOT NULL,
  dest_host {{key}} NOT NULL,
  dest_node {{key}} NOT NULL,
  old_flavor {{text}} NOT NULL,                -- JSON: work.Flavor
  new_flavor {{text}} NOT NULL,
  old_vm_state VARCHAR(32) NOT NULL,           -- to come back to
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL
) {{table}};
CREATE UNIQUE INDEX migrations_uuid ON migrations (uuid);
CREATE INDEX migrations_server ON migrations (server_uuid, id);
CREATE INDEX migrations_status ON migrations (status, id);

ALTER TABLE servers ADD COLUMN migration_id BIGINT NULL;    -- the one that is under way
ALTER TABLE work ADD COLUMN operation VARCHAR(32) NOT NULL DEFAULT '';  -- the row of the state table that made it
ALTER TABLE work ADD COLUMN vm_state VARCHAR(32) NOT NULL DEFAULT '';   -- of the server, before

INSERT INTO migrations (uuid, server_uuid, project_id, user_id, kind, status, source_host, source_node, dest_host, dest_node,
  old_flavor, new_flavor, old_vm_state, created_at, updated_at)
SELECT {{newid}}, uuid, project_id, user_id, 'resize',
  CASE WHEN old_state LIKE '%"confirming":true%' THEN 'confirming' WHEN task_state = 'resize_reverting' THEN 'reverting' WHEN vm_state = 'resized' THEN 'finished' ELSE 'migrating' END,
  COALESCE(host, ''), COALESCE(node, ''), COALESCE(host, ''), COALESCE(node, ''),
  JSON_EXTRACT(old_state, '$.old'), JSON_EXTRACT(old_state, '$.new'), {{unquoted}}(JSON_EXTRACT(old_state, '$.vm_state')), updated_at, updated_at
FROM servers WHERE deleted = 0 AND old_state LIKE '%"old":{%' AND old_state LIKE '%"new":{%';
UPDATE servers SET migration_id = (SELECT MAX(m.id) FROM migrations m WHERE m.server_uuid = servers.uuid)
WHERE deleted = 0 AND old_state LIKE '%"old":{%' AND old_state LIKE '%"new":{%';

INSERT INTO claims (server_uuid, host, purpose, vcpus, memory_mb, disk_gb, created_at)
SELECT uuid, host, 'server', vcpus, memory_mb, root_gb + ephemeral_gb + ((swap_mb + 1023) - (swap_mb + 1023) % 1024) / 1024, updated_at
FROM servers WHERE deleted = 0 AND claimed = 1 AND host IS NOT NULL;
-- During a resize the larger of both flavors is held: this is what it is beyond the present one.
INSERT INTO claims (server_uuid, host, purpose, vcpus, memory_mb, disk_gb, created_at)
SELECT s.uuid, s.host, 'resize',
  {{greatest}}(0 + JSON_EXTRACT(m.old_flavor, '$.vcpus'), 0 + JSON_EXTRACT(m.new_flavor, '$.vcpus')) - s.vcpus,
  {{greatest}}(0 + JSON_EXTRACT(m.old_flavor, '$.memory_mb'), 0 + JSON_EXTRACT(m.new_flavor, '$.memory_mb')) - s.memory_mb,
  {{greatest}}(
    JSON_EXTRACT(m.old_flavor, '$.root_gb') + JSON_EXTRACT(m.old_flavor, '$.ephemeral_gb') + ((JSON_EXTRACT(m.old_flavor, '$.swap_mb') + 1023) - (JSON_EXTRACT(m.old_flavor, '$.swap_mb') + 1023) % 1024) / 1024,
    JSON_EXTRACT(m.new_flavor, '$.root_gb') + JSON_EXTRACT(m.new_flavor, '$.ephemeral_gb') + ((JSON_EXTRACT(m.new_flavor, '$.swap_mb') + 1023) - (JSON_EXTRACT(m.new_flavor, '$.swap_mb') + 1023) % 1024) / 1024)
  - (s.root_gb + s.ephemeral_gb + ((swap_mb + 1023) - (swap_mb + 1023) % 1024) / 1024), s.updated_at
FROM servers s JOIN migrations m ON m.id = s.migration_id WHERE s.deleted = 0 AND s.claimed = 1 AND s.host IS NOT NULL;

UPDATE work SET operation = CASE kind
  WHEN 'spawn' THEN 'create' WHEN 'delete' THEN 'delete' WHEN 'start' THEN 'os-start' WHEN 'stop' THEN 'os-stop'
  WHEN 'soft_reboot' THEN 'reboot SOFT' WHEN 'hard_reboot' THEN 'reboot HARD' WHEN 'pause' THEN 'pause' WHEN 'unpause' THEN 'unpause'
  WHEN 'suspend' THEN 'suspend' WHEN 'resume' THEN 'resume' WHEN 'rebuild' THEN 'rebuild' WHEN 'resize' THEN 'resize'
  WHEN 'confirm_resize' THEN 'confirmResize' WHEN 'revert_resize' THEN 'revertResize' WHEN 'snapshot' THEN 'createImage'
  WHEN 'set_password' THEN 'changePassword' WHEN 'console_output' THEN 'os-getConsoleOutput' WHEN 'diagnostics' THEN 'get_diagnostics' ELSE '' END;
UPDATE work SET vm_state = 'stopped' WHERE kind = 'rebuild'
  AND EXISTS (SELECT 1 FROM servers s WHERE s.uuid = work.server_uuid AND s.old_state LIKE '%"vm_state":"stopped"%');

-- +goose Down
ALTER TABLE work DROP COLUMN vm_state;
ALTER TABLE work DROP COLUMN operation;
ALTER TABLE servers DROP COLUMN migration_id;
DROP TABLE migrations;
DROP TABLE claims;
