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

	"kilonova/private"
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
	_, _ = rand.Read(raw) // it never fails: the runtime stops the process first
	secret := base64.RawURLEncoding.EncodeToString(raw)
	if err == nil { // an empty file, of a start that was cut short
		return secret, private.Write(path, []byte(secret+"\n"))
	}
	err = private.Create(path, []byte(secret+"\n"))
	if errors.Is(err, fs.ErrExist) { // of a process that started at the same moment
		return secretFile(path)
	}
	return secret, err
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
	err := private.Write(clouds, fmt.Appendf(nil, cloudsYAML, base, password, yaml))
	if err != nil {
		return err
	}
	return private.Write(filepath.Join(dir, "openrc"), fmt.Appendf(nil, openrc, base, password, shellQuoted(clouds), env))
}

func shellQuoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
