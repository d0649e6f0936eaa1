-- +goose Up
-- Which daemon speaks for the host: "machine/process", '' for none. It holds the host for as
-- long as last_seen is fresh; there is no lease on the single piece of work.
ALTER TABLE hosts ADD COLUMN daemon {{key}} NOT NULL DEFAULT '';
ALTER TABLE work DROP COLUMN lease_until;

-- +goose Down
ALTER TABLE work ADD COLUMN lease_until BIGINT NOT NULL DEFAULT 0;
ALTER TABLE hosts DROP COLUMN daemon;
