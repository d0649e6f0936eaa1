-- +goose Up
-- What the create request asked of the host, for whoever places the server anew.
ALTER TABLE servers ADD COLUMN placement {{text}} NULL;   -- JSON object; NULL asks nothing
-- The image that a snapshot is to fill: it ends with the work, whatever becomes of the server.
ALTER TABLE work ADD COLUMN image_id {{key}} NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE work DROP COLUMN image_id;
ALTER TABLE servers DROP COLUMN placement;
