-- +goose Up
-- Which host a database account stands for. The views of the host database ask it.
CREATE TABLE host_accounts (
  account {{key}} NOT NULL PRIMARY KEY,
  host {{key}} NOT NULL,
  origin {{key}} NOT NULL,
  created_at BIGINT NOT NULL
) {{table}};
CREATE INDEX host_accounts_host ON host_accounts (host);

-- +goose Down
DROP TABLE host_accounts;
