-- +goose Up
-- The ranges that a host has addresses in, routes to and neighbours at, as it reports them:
-- prefixes with blanks between them. No project's network may touch them.
ALTER TABLE hosts ADD COLUMN held_ranges VARCHAR(4000) NOT NULL DEFAULT '' CHECK (LENGTH(held_ranges) <= 4000);

-- +goose Down
ALTER TABLE hosts DROP COLUMN held_ranges;
