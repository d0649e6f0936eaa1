-- +goose Up
-- A lease lets one process of the cluster do a periodic task.
CREATE TABLE leases (
  name   {{key}} NOT NULL PRIMARY KEY,
  holder {{key}} NOT NULL,
  expires_at BIGINT NOT NULL
) {{table}};

-- +goose Down
DROP TABLE leases;
