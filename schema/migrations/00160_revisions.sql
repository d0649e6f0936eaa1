-- +goose Up
-- A number for each server that changes with everything that its documents show: whoever
-- keeps a document knows by it whether it is still true. The database counts by itself, so
-- that no statement can forget to.
CREATE TABLE server_revisions (
  server_id BIGINT NOT NULL PRIMARY KEY,
  server_uuid {{uuid}} NOT NULL,
  revision BIGINT NOT NULL
) {{table}};
CREATE UNIQUE INDEX server_revisions_uuid ON server_revisions (server_uuid);
INSERT INTO server_revisions (server_id, server_uuid, revision) SELECT id, uuid, 1 FROM servers;

-- The same for names that documents of many servers show.
CREATE TABLE epochs (
  name VARCHAR(32) NOT NULL PRIMARY KEY,
  n BIGINT NOT NULL
) {{table}};
INSERT INTO epochs (name, n) VALUES ('names', 1);

-- +goose StatementBegin
CREATE TRIGGER servers_made AFTER INSERT ON servers FOR EACH ROW {{when}} NEW.id > 0 {{then}}
  INSERT INTO server_revisions (server_id, server_uuid, revision) VALUES (NEW.id, NEW.uuid, 1);
{{end}}
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER servers_changed AFTER UPDATE ON servers FOR EACH ROW {{when}} NEW.id > 0 {{then}}
  UPDATE server_revisions SET revision = revision + 1 WHERE server_id = NEW.id;
{{end}}
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER servers_gone AFTER DELETE ON servers FOR EACH ROW {{when}} OLD.id > 0 {{then}}
  DELETE FROM server_revisions WHERE server_id = OLD.id;
{{end}}
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER server_tags_made AFTER INSERT ON server_tags FOR EACH ROW {{when}} NEW.server_id > 0 {{then}}
  UPDATE server_revisions SET revision = revision + 1 WHERE server_id = NEW.server_id;
{{end}}
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER server_tags_changed AFTER UPDATE ON server_tags FOR EACH ROW {{when}} NEW.server_id > 0 {{then}}
  UPDATE server_revisions SET revision = revision + 1 WHERE server_id IN (OLD.server_id, NEW.server_id);
{{end}}
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER server_tags_gone AFTER DELETE ON server_tags FOR EACH ROW {{when}} OLD.server_id > 0 {{then}}
  UPDATE server_revisions SET revision = revision + 1 WHERE server_id = OLD.server_id;
{{end}}
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER ports_made AFTER INSERT ON ports FOR EACH ROW {{when}} NEW.nic >= 0 {{then}}
  UPDATE server_revisions SET revision = revision + 1 WHERE server_uuid = NEW.device_id;
{{end}}
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER ports_changed AFTER UPDATE ON ports FOR EACH ROW {{when}} NEW.nic >= 0 OR OLD.nic >= 0 {{then}}
  UPDATE server_revisions SET revision = revision + 1 WHERE server_uuid IN (OLD.device_id, NEW.device_id);
{{end}}
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER ports_gone AFTER DELETE ON ports FOR EACH ROW {{when}} OLD.nic >= 0 {{then}}
  UPDATE server_revisions SET revision = revision + 1 WHERE server_uuid = OLD.device_id;
{{end}}
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER port_addresses_made AFTER INSERT ON port_addresses FOR EACH ROW {{when}} NEW.port_id > 0 {{then}}
  UPDATE server_revisions SET revision = revision + 1 WHERE server_uuid IN (SELECT device_id FROM ports WHERE id = NEW.port_id AND nic >= 0);
{{end}}
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER port_addresses_changed AFTER UPDATE ON port_addresses FOR EACH ROW {{when}} NEW.port_id > 0 {{then}}
  UPDATE server_revisions SET revision = revision + 1 WHERE server_uuid IN (SELECT device_id FROM ports WHERE id IN (OLD.port_id, NEW.port_id) AND nic >= 0);
{{end}}
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER port_addresses_gone AFTER DELETE ON port_addresses FOR EACH ROW {{when}} OLD.port_id > 0 {{then}}
  UPDATE server_revisions SET revision = revision + 1 WHERE server_uuid IN (SELECT device_id FROM ports WHERE id = OLD.port_id AND nic >= 0);
{{end}}
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER port_security_groups_made AFTER INSERT ON port_security_groups FOR EACH ROW {{when}} NEW.port_id > 0 {{then}}
  UPDATE server_revisions SET revision = revision + 1 WHERE server_uuid IN (SELECT device_id FROM ports WHERE id = NEW.port_id AND nic >= 0);
{{end}}
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER port_security_groups_gone AFTER DELETE ON port_security_groups FOR EACH ROW {{when}} OLD.port_id > 0 {{then}}
  UPDATE server_revisions SET revision = revision + 1 WHERE server_uuid IN (SELECT device_id FROM ports WHERE id = OLD.port_id AND nic >= 0);
{{end}}
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER networks_named AFTER UPDATE ON networks FOR EACH ROW {{when}} NEW.name <> OLD.name {{then}}
  UPDATE epochs SET n = n + 1 WHERE name = 'names';
{{end}}
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER security_groups_named AFTER UPDATE ON security_groups FOR EACH ROW {{when}} NEW.name <> OLD.name {{then}}
  UPDATE epochs SET n = n + 1 WHERE name = 'names';
{{end}}
-- +goose StatementEnd

-- +goose Down
DROP TRIGGER security_groups_named;
DROP TRIGGER networks_named;
DROP TRIGGER port_security_groups_gone;
DROP TRIGGER port_security_groups_made;
DROP TRIGGER port_addresses_gone;
DROP TRIGGER port_addresses_changed;
DROP TRIGGER port_addresses_made;
DROP TRIGGER ports_gone;
DROP TRIGGER ports_changed;
DROP TRIGGER ports_made;
DROP TRIGGER server_tags_gone;
DROP TRIGGER server_tags_changed;
DROP TRIGGER server_tags_made;
DROP TRIGGER servers_gone;
DROP TRIGGER servers_changed;
DROP TRIGGER servers_made;
DROP TABLE epochs;
DROP TABLE server_revisions;
