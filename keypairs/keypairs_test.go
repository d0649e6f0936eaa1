package keypairs_test

import (
	"strings"
	"testing"

	"kilonova/compat"
	"kilonova/flavors/apitest"
	"kilonova/keypairs"
	"kilonova/quotas"
	"kilonova/schema"
	"kilonova/schema/schematest"
)

const publicKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJy3R5xgGk3yQGdGEEDvAWc3DKvxX0p5MvH1SMPPBbNJ test"

func TestKeypairs(t *testing.T) {
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		s := keypairs.New(db, nil, quotas.New(db, nil))
		api := apitest.New(t, func(c *compat.Compute) { s.Register(c) })
		tests := []struct {
			name, who, version, method, path, body string
			code                                   int
			want, forbid                           string
		}{
			{"import", "u@p", "2.1", "POST", "/os-keypairs", `{"keypair":{"name":"k","public_key":"` + publicKey + `"}}`, 200, `"fingerprint"`, "private_key"},
			{"again", "u@p", "2.1", "POST", "/os-keypairs", `{"keypair":{"name":"k","public_key":"` + publicKey + `"}}`, 409, "Key pair 'k' already exists.", "keypair\":"},
			{"generate", "u@p", "2.2", "POST", "/os-keypairs", `{"keypair":{"name":"g"}}`, 201, "PRIVATE KEY", ":null"},
			{"no more generation", "u@p", "2.92", "POST", "/os-keypairs", `{"keypair":{"name":"h"}}`, 400, "public_key", "PRIVATE"},
			{"x509", "u@p", "2.2", "POST", "/os-keypairs", `{"keypair":{"name":"c","type":"x509"}}`, 201, "BEGIN CERTIFICATE", "{\"badRequest"},
			{"type before 2.2", "u@p", "2.1", "POST", "/os-keypairs", `{"keypair":{"name":"t","type":"ssh"}}`, 400, "unexpected", "keypair\":"},
			{"no key", "u@p", "2.1", "POST", "/os-keypairs", `{"keypair":{"name":"b","public_key":"nonsense"}}`, 400, "badRequest", "panic"},
			{"name with at", "u@p", "2.91", "POST", "/os-keypairs", `{"keypair":{"name":"a@b","public_key":"` + publicKey + `"}}`, 400, "badRequest", "panic"},
			{"name with at from 2.92", "u@p", "2.92", "POST", "/os-keypairs", `{"keypair":{"name":"a@b","public_key":"` + publicKey + `"}}`, 201, "a@b", "panic"},
			{"list", "u@p", "2.35", "GET", "/os-keypairs?limit=2", "", 200, "keypairs_links", "private_key"},
			{"list of another user by a member", "u@p", "2.10", "GET", "/os-keypairs?user_id=v", "", 403, "forbidden", "fingerprint"},
			{"list of another user by an admin", "admin@p", "2.10", "GET", "/os-keypairs?user_id=u", "", 200, `"name":"k"`, "private_key"},
			{"show", "u@p", "2.2", "GET", "/os-keypairs/k", "", 200, `"type":"ssh"`, "private_key"},
			{"show has no type at first", "u@p", "2.1", "GET", "/os-keypairs/k", "", 200, `"name":"k"`, `"type"`},
			{"another user's", "v@p", "2.2", "GET", "/os-keypairs/k", "", 404, "itemNotFound", publicKey},
			{"delete", "u@p", "2.2", "DELETE", "/os-keypairs/k", "", 204, "", "x"},
			{"delete again", "u@p", "2.2", "DELETE", "/os-keypairs/k", "", 404, "itemNotFound", "panic"},
			{"delete at first", "u@p", "2.1", "DELETE", "/os-keypairs/g", "", 202, "", "x"},
		}
		for _, tt := range tests {
			got := api.Do(t, apitest.As(tt.who, tt.version, tt.method, tt.path, tt.body))
			if got.Code != tt.code || !strings.Contains(got.Body.String(), tt.want) || strings.Contains(got.Body.String(), tt.forbid) {
				t.Errorf("%s = %d %s; want %d with %q, without %q", tt.name, got.Code, got.Body, tt.code, tt.want, tt.forbid)
			}
		}
	})
}
