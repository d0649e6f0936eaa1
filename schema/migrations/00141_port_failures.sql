-- +goose Up
-- Why the port's host could not plug it; '' when it could, or has not tried.
ALTER TABLE ports ADD COLUMN binding_failure VARCHAR(500) NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE ports DROP COLUMN binding_failure;
