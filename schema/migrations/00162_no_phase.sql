-- +goose Up
-- Which step is being done shows in the server's task_state alone.
ALTER TABLE work DROP COLUMN phase;

-- +goose Down
ALTER TABLE work ADD COLUMN phase VARCHAR(64) NOT NULL DEFAULT '';
