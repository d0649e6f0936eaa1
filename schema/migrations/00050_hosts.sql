-- +goose Up
-- A hypervisor host. The host itself writes what it reports; what is used of it, the
-- ratios and the switches belong to the API.
CREATE TABLE hosts (
  id {{id}},
  uuid {{uuid}} NOT NULL,
  name {{key}} NOT NULL,                       -- the compute service's host
  -- reported by the host
  hypervisor_hostname {{key}} NOT NULL,
  hypervisor_type {{key}} NOT NULL,
  hypervisor_version INTEGER NOT NULL,
  host_ip {{key}} NOT NULL,
  arch {{key}} NOT NULL,
  cpu_info {{text}} NOT NULL,                  -- a JSON object
  vcpus INTEGER NOT NULL,
  memory_mb INTEGER NOT NULL,
  disk_gb INTEGER NOT NULL,
  disk_available_gb INTEGER NOT NULL,
  uptime {{key}} NOT NULL,
  doorbell {{key}} NOT NULL,                   -- address for datagrams, '' for none
  last_seen BIGINT NOT NULL,                   -- heartbeat
  started_at BIGINT NOT NULL,
  -- kept by the API
  vcpus_used INTEGER NOT NULL DEFAULT 0,
  memory_mb_used INTEGER NOT NULL DEFAULT 0,
  disk_gb_used INTEGER NOT NULL DEFAULT 0,
  servers INTEGER NOT NULL DEFAULT 0,          -- claims held
  cpu_ratio DOUBLE PRECISION NOT NULL DEFAULT 4.0,
  ram_ratio DOUBLE PRECISION NOT NULL DEFAULT 1.0,
  disk_ratio DOUBLE PRECISION NOT NULL DEFAULT 1.0,
  reserved_memory_mb INTEGER NOT NULL DEFAULT 0,
  failures INTEGER NOT NULL DEFAULT 0,         -- builds that failed in a row
  zone {{key}} NOT NULL DEFAULT 'nova',
  disabled {{bool}} NOT NULL DEFAULT 0,
  disabled_reason {{key}} NULL,
  forced_down {{bool}} NOT NULL DEFAULT 0,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL
) {{table}};
CREATE UNIQUE INDEX hosts_name ON hosts (name);
CREATE UNIQUE INDEX hosts_uuid ON hosts (uuid);

-- +goose Down
DROP TABLE hosts;
