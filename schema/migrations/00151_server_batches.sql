-- +goose Up
-- Creates of many servers that are being made piece by piece. The quota of those that are
-- not made yet is taken already.
CREATE TABLE server_batches (
  id {{id}},
  reservation_id {{key}} NOT NULL,
  project_id {{key}} NOT NULL,
  user_id {{key}} NOT NULL,
  left_over INTEGER NOT NULL,                  -- servers not made yet
  cores INTEGER NOT NULL,                      -- of one server
  ram INTEGER NOT NULL,                        -- of one server, MB
  state VARCHAR(16) NOT NULL,                  -- making, undoing
  lease_until BIGINT NOT NULL                  -- until then a process is at it
) {{table}};
CREATE INDEX server_batches_lease ON server_batches (lease_until);
CREATE INDEX servers_reservation ON servers (reservation_id, id);

-- +goose Down
DROP TABLE server_batches;
