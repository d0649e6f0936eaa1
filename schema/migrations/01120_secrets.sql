-- +goose Up
-- What nobody but the work's host may read, sealed with the host's key, and what the API must
-- read again when it gives the work to another host, sealed with its own. args holds neither.
ALTER TABLE work ADD COLUMN secret {{longtext}} NULL;
ALTER TABLE work ADD COLUMN kept {{longtext}} NULL;
-- The key with which the API seals for the host: '' until its daemon has told it.
ALTER TABLE hosts ADD COLUMN public_key {{key}} NOT NULL DEFAULT '';
-- By what a process sees that its key is the one with which this database was written.
CREATE TABLE secret_keys (
  name {{key}} NOT NULL PRIMARY KEY,
  check_value {{key}} NOT NULL,
  created_at BIGINT NOT NULL
) {{table}};

-- +goose Down
DROP TABLE secret_keys;
ALTER TABLE hosts DROP COLUMN public_key;
ALTER TABLE work DROP COLUMN kept;
ALTER TABLE work DROP COLUMN secret;
