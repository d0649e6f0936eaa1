-- +goose Up
CREATE TABLE networks (
  id {{id}},
  uuid {{uuid}} NOT NULL,
  project_id {{key}} NOT NULL,
  name {{key}} NOT NULL,
  description {{key}} NOT NULL,
  admin_state_up {{bool}} NOT NULL DEFAULT 1,
  shared {{bool}} NOT NULL DEFAULT 0,
  port_security_enabled {{bool}} NOT NULL DEFAULT 1,
  mtu INTEGER NOT NULL,
  network_type VARCHAR(32) NOT NULL,
  physical_network {{key}} NULL,
  segmentation_id INTEGER NULL,
  -- What the process made by itself, by name ("private"), so that it makes it once.
  made_for {{key}} NULL,
  revision BIGINT NOT NULL DEFAULT 1,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL
) {{table}};
CREATE UNIQUE INDEX networks_uuid ON networks (uuid);
CREATE UNIQUE INDEX networks_made_for ON networks (made_for);
CREATE INDEX networks_project ON networks (project_id, id);
CREATE INDEX networks_shared ON networks (shared, id);

CREATE TABLE subnets (
  id {{id}},
  uuid {{uuid}} NOT NULL,
  network_id BIGINT NOT NULL,
  project_id {{key}} NOT NULL,
  name {{key}} NOT NULL,
  description {{key}} NOT NULL,
  ip_version INTEGER NOT NULL,
  cidr VARCHAR(64) NOT NULL,
  gateway_ip VARCHAR(45) NULL,
  enable_dhcp {{bool}} NOT NULL DEFAULT 1,
  allocation_pools {{text}} NOT NULL,          -- JSON list of {start, end}
  dns_nameservers {{text}} NOT NULL,           -- JSON list
  host_routes {{text}} NOT NULL,               -- JSON list of {destination, nexthop}
  revision BIGINT NOT NULL DEFAULT 1,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  CONSTRAINT subnets_network_fk FOREIGN KEY (network_id) REFERENCES networks (id)
) {{table}};
CREATE UNIQUE INDEX subnets_uuid ON subnets (uuid);
CREATE INDEX subnets_network ON subnets (network_id, id);
CREATE INDEX subnets_project ON subnets (project_id, id);

CREATE TABLE ports (
  id {{id}},
  uuid {{uuid}} NOT NULL,
  network_id BIGINT NOT NULL,
  project_id {{key}} NOT NULL,
  name {{key}} NOT NULL,
  description {{key}} NOT NULL,
  mac_address VARCHAR(17) NOT NULL,
  admin_state_up {{bool}} NOT NULL DEFAULT 1,
  status VARCHAR(16) NOT NULL,                 -- ACTIVE, DOWN, BUILD
  device_id {{key}} NOT NULL,                  -- the server's uuid, '' while unused
  device_owner {{key}} NOT NULL,
  -- Its place among the server's ports; -1 unless a server has it. Clients may write device_id
  -- as they like, also somebody else's, but not this.
  nic INTEGER NOT NULL DEFAULT -1,
  nic_tag {{key}} NOT NULL DEFAULT '',         -- the device tag that the server's user gave
  made_for_server {{bool}} NOT NULL DEFAULT 0, -- goes away with the server
  host {{key}} NOT NULL DEFAULT '',
  vnic_type VARCHAR(32) NOT NULL DEFAULT 'normal',
  profile {{text}} NOT NULL,                   -- JSON object
  port_security_enabled {{bool}} NOT NULL DEFAULT 1,
  allowed_address_pairs {{text}} NOT NULL,     -- JSON list
  extra_dhcp_opts {{text}} NOT NULL,           -- JSON list
  revision BIGINT NOT NULL DEFAULT 1,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  CONSTRAINT ports_network_fk FOREIGN KEY (network_id) REFERENCES networks (id)
) {{table}};
CREATE UNIQUE INDEX ports_uuid ON ports (uuid);
CREATE UNIQUE INDEX ports_mac ON ports (network_id, mac_address);
CREATE INDEX ports_device ON ports (device_id, nic, id);
CREATE INDEX ports_project ON ports (project_id, id);

-- The primary key is what keeps two processes from giving one address twice.
CREATE TABLE port_addresses (
  subnet_id BIGINT NOT NULL,
  ip VARCHAR(32) NOT NULL,                     -- hexadecimal, so that it sorts as the address does
  address VARCHAR(45) NOT NULL,                -- as clients see it
  version INTEGER NOT NULL,
  port_id BIGINT NOT NULL,
  place INTEGER NOT NULL DEFAULT 0,            -- its place among the port's addresses
  PRIMARY KEY (subnet_id, ip),
  CONSTRAINT port_addresses_subnet_fk FOREIGN KEY (subnet_id) REFERENCES subnets (id),
  CONSTRAINT port_addresses_port_fk FOREIGN KEY (port_id) REFERENCES ports (id) ON DELETE CASCADE
) {{table}};
CREATE INDEX port_addresses_port ON port_addresses (port_id, place);
CREATE INDEX port_addresses_address ON port_addresses (address);

CREATE TABLE security_groups (
  id {{id}},
  uuid {{uuid}} NOT NULL,
  project_id {{key}} NOT NULL,
  name {{key}} NOT NULL,
  description {{key}} NOT NULL,
  stateful {{bool}} NOT NULL DEFAULT 1,
  default_of {{key}} NULL,                     -- the project whose default group it is
  revision BIGINT NOT NULL DEFAULT 1,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL
) {{table}};
CREATE UNIQUE INDEX security_groups_uuid ON security_groups (uuid);
CREATE UNIQUE INDEX security_groups_default ON security_groups (default_of);
CREATE INDEX security_groups_project ON security_groups (project_id, name, id);

CREATE TABLE security_group_rules (
  id {{id}},
  uuid {{uuid}} NOT NULL,
  group_id BIGINT NOT NULL,
  project_id {{key}} NOT NULL,
  direction VARCHAR(8) NOT NULL,
  ethertype VARCHAR(8) NOT NULL,
  protocol VARCHAR(32) NULL,
  port_range_min INTEGER NULL,
  port_range_max INTEGER NULL,
  remote_ip_prefix VARCHAR(64) NULL,
  remote_group_id BIGINT NULL,
  description {{key}} NOT NULL,
  -- What the rule does, in one word: a group has each meaning once.
  meaning {{key}} NOT NULL,
  revision BIGINT NOT NULL DEFAULT 1,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  CONSTRAINT security_group_rules_group_fk FOREIGN KEY (group_id) REFERENCES security_groups (id),
  CONSTRAINT security_group_rules_remote_fk FOREIGN KEY (remote_group_id) REFERENCES security_groups (id)
) {{table}};
CREATE UNIQUE INDEX security_group_rules_uuid ON security_group_rules (uuid);
CREATE UNIQUE INDEX security_group_rules_meaning ON security_group_rules (group_id, meaning);
CREATE INDEX security_group_rules_project ON security_group_rules (project_id, id);
CREATE INDEX security_group_rules_remote ON security_group_rules (remote_group_id);

CREATE TABLE port_security_groups (
  port_id BIGINT NOT NULL,
  group_id BIGINT NOT NULL,
  PRIMARY KEY (port_id, group_id),
  CONSTRAINT port_security_groups_port_fk FOREIGN KEY (port_id) REFERENCES ports (id) ON DELETE CASCADE,
  CONSTRAINT port_security_groups_group_fk FOREIGN KEY (group_id) REFERENCES security_groups (id)
) {{table}};
CREATE INDEX port_security_groups_group ON port_security_groups (group_id, port_id);

CREATE TABLE network_tags (
  resource {{uuid}} NOT NULL,                  -- the uuid of what is tagged
  tag VARCHAR(255) NOT NULL,
  PRIMARY KEY (resource, tag)
) {{table}};
CREATE INDEX network_tags_tag ON network_tags (tag, resource);

CREATE TABLE network_quotas (
  project_id {{key}} NOT NULL,
  resource VARCHAR(64) NOT NULL,
  allowed INTEGER NOT NULL,                    -- -1: unlimited
  PRIMARY KEY (project_id, resource)
) {{table}};

-- Counted in the transaction that makes or deletes the thing.
CREATE TABLE network_usage (
  project_id {{key}} NOT NULL,
  resource VARCHAR(64) NOT NULL,
  used BIGINT NOT NULL,
  PRIMARY KEY (project_id, resource)
) {{table}};

-- +goose Down
DROP TABLE network_usage;
DROP TABLE network_quotas;
DROP TABLE network_tags;
DROP TABLE port_security_groups;
DROP TABLE security_group_rules;
DROP TABLE security_groups;
DROP TABLE port_addresses;
DROP TABLE ports;
DROP TABLE subnets;
DROP TABLE networks;
