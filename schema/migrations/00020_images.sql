-- +goose Up
CREATE TABLE images (
  id {{id}},
  uuid {{uuid}} NOT NULL,
  owner {{key}} NULL,                          -- project
  name {{key}} NULL,
  status VARCHAR(16) NOT NULL,                 -- queued, saving, uploading, importing, active, deactivated, deleted
  visibility VARCHAR(16) NOT NULL,             -- public, community, shared, private
  protected {{bool}} NOT NULL DEFAULT 0,
  os_hidden {{bool}} NOT NULL DEFAULT 0,
  container_format VARCHAR(32) NULL,
  disk_format VARCHAR(32) NULL,
  min_ram BIGINT NOT NULL DEFAULT 0,           -- MiB
  min_disk BIGINT NOT NULL DEFAULT 0,          -- GiB
  size BIGINT NULL,
  virtual_size BIGINT NULL,
  checksum VARCHAR(32) NULL,                   -- md5, hexadecimal
  hash_value VARCHAR(128) NULL,                -- sha512, hexadecimal
  -- Where the bytes are: names of files in the data folder, each made of the uuid and the
  -- upload that wrote it, so that no upload can write over another's bytes.
  data_file VARCHAR(80) NOT NULL DEFAULT '',
  staged_file VARCHAR(80) NOT NULL DEFAULT '',
  -- Who is writing: a key that the upload or import chose, '' for nobody. A change by
  -- another holder finds no row. beat is when the holder was last heard of. A deleted
  -- image whose bytes are still to be removed has 'purge' here.
  upload VARCHAR(36) NOT NULL DEFAULT '',
  beat BIGINT NOT NULL DEFAULT 0,
  charged BIGINT NOT NULL DEFAULT 0,           -- bytes held against the owner's quota
  failure VARCHAR(1024) NOT NULL DEFAULT '',   -- why the last upload or import failed
  revision BIGINT NOT NULL DEFAULT 1,          -- grows with each change that a client can see
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  deleted_at BIGINT NOT NULL DEFAULT 0         -- 0: not deleted; the row stays, so that no id is used twice
) {{table}};
CREATE UNIQUE INDEX images_uuid ON images (uuid);
CREATE INDEX images_owner ON images (owner, deleted_at, created_at, uuid);
CREATE INDEX images_list ON images (deleted_at, os_hidden, created_at, uuid);
CREATE INDEX images_status ON images (status, upload, id);
CREATE INDEX images_upload ON images (upload, beat);

CREATE TABLE image_properties (
  image_id BIGINT NOT NULL,
  name {{key}} NOT NULL,
  value {{text}} NOT NULL,
  PRIMARY KEY (image_id, name),
  CONSTRAINT image_properties_image_fk FOREIGN KEY (image_id) REFERENCES images (id) ON DELETE CASCADE
) {{table}};
CREATE INDEX image_properties_name ON image_properties (name, image_id);

CREATE TABLE image_tags (
  image_id BIGINT NOT NULL,
  tag {{key}} NOT NULL,
  PRIMARY KEY (image_id, tag),
  CONSTRAINT image_tags_image_fk FOREIGN KEY (image_id) REFERENCES images (id) ON DELETE CASCADE
) {{table}};
CREATE INDEX image_tags_tag ON image_tags (tag, image_id);

CREATE TABLE image_members (
  image_id BIGINT NOT NULL,
  member {{key}} NOT NULL,                     -- project
  status VARCHAR(16) NOT NULL,                 -- pending, accepted, rejected
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  PRIMARY KEY (image_id, member),
  CONSTRAINT image_members_image_fk FOREIGN KEY (image_id) REFERENCES images (id) ON DELETE CASCADE
) {{table}};
CREATE INDEX image_members_member ON image_members (member, image_id);

-- What each project holds, changed in the transaction that makes or removes it.
CREATE TABLE image_usage (
  project_id {{key}} NOT NULL PRIMARY KEY,
  images BIGINT NOT NULL DEFAULT 0,
  bytes BIGINT NOT NULL DEFAULT 0
) {{table}};

-- +goose Down
DROP TABLE image_usage;
DROP TABLE image_members;
DROP TABLE image_tags;
DROP TABLE image_properties;
DROP TABLE images;
