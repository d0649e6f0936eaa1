-- +goose Up
-- The properties that are there and null, with blanks between them: values are texts, and
-- few properties may be null.
ALTER TABLE images ADD COLUMN null_properties VARCHAR(64) NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE images DROP COLUMN null_properties;
