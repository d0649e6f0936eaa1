-- +goose Up
-- A row for each thing of which only so many may be, and which has no row of its own to
-- lock: whoever adds one takes the row first, and then counts.
CREATE TABLE turns (
  name {{key}} NOT NULL PRIMARY KEY,
  taken BIGINT NOT NULL
) {{table}};

-- +goose Down
DROP TABLE turns;
