package main

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// secretFile reads a secret of the state folder, and makes it at the first start.
func secretFile(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err == nil && len(strings.TrimSpace(string(b))) > 0 {
		return strings.TrimSpace(string(b)), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read secret: %w", err)
	}
	raw := make([]byte, 18)
	_, err = rand.Read(raw)
	if err != nil {
		return "", fmt.Errorf("make secret: %w", err)
	}
	secret := base64.RawURLEncoding.EncodeToString(raw)
	return secret, writePrivate(path, secret+"\n")
}

// writePrivate writes a file that only its owner reads, all of it or nothing.
func writePrivate(path, content string) error {
	tmp := path + ".new"
	err := os.WriteFile(tmp, []byte(content), 0o600)
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	err = os.Rename(tmp, path)
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	return nil
}

const cloudsYAML = `# Written by kilonova at each start.
clouds:
  kilonova:
    auth:
      auth_url: %s/identity/v3
      username: admin
      password: %s
      project_name: admin
      user_domain_name: Default
      project_domain_name: Default
    region_name: RegionOne
    identity_api_version: 3
%s`

const openrc = `# Written by kilonova at each start:  . openrc
export OS_AUTH_URL=%s/identity/v3
export OS_USERNAME=admin
export OS_PASSWORD=%s
export OS_PROJECT_NAME=admin
export OS_USER_DOMAIN_NAME=Default
export OS_PROJECT_DOMAIN_NAME=Default
export OS_REGION_NAME=RegionOne
export OS_IDENTITY_API_VERSION=3
export OS_CLIENT_CONFIG_FILE=%s
unset OS_CLOUD OS_TOKEN OS_AUTH_TYPE
%s`

// writeCredentials gives the administrator what the openstack client reads; ca is the file
// with the authority of the APIs' certificate, if the client must be told.
func writeCredentials(dir, base, password, ca string) error {
	clouds := filepath.Join(dir, "clouds.yaml")
	yaml, env := "", ""
	if ca != "" {
		yaml, env = fmt.Sprintf("    cacert: %q\n", ca), fmt.Sprintf("export OS_CACERT=%s\n", shellQuoted(ca))
	}
	err := writePrivate(clouds, fmt.Sprintf(cloudsYAML, base, password, yaml))
	if err != nil {
		return err
	}
	return writePrivate(filepath.Join(dir, "openrc"), fmt.Sprintf(openrc, base, password, shellQuoted(clouds), env))
}

func shellQuoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
