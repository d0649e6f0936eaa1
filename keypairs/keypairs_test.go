package keypairs_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
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

// One user's requests at the same moment make exactly as many keypairs as there is room for,
// and another user's are not in their way.
func TestKeypairsAtOnce(t *testing.T) {
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		quota := quotas.New(db, nil)
		s := keypairs.New(db, nil, quota)
		api := apitest.New(t, func(c *compat.Compute) { s.Register(c); quota.Register(c) })
		if got := api.Do(t, apitest.As("admin@a", "2.1", "PUT", "/os-quota-sets/p", `{"quota_set":{"key_pairs":20}}`)); got.Code != 200 {
			t.Fatal(got.Code, got.Body)
		}
		codes := map[string]int{}
		var mu sync.Mutex
		var wg sync.WaitGroup
		for i := range 48 {
			who := []string{"u@p", "v@p"}[i%2]
			wg.Add(1)
			go func() {
				defer wg.Done()
				got := api.Do(t, apitest.As(who, "2.2", "POST", "/os-keypairs", fmt.Sprintf(`{"keypair":{"name":"k%d","public_key":"%s"}}`, i, publicKey)))
				mu.Lock()
				codes[fmt.Sprint(who, got.Code)]++
				mu.Unlock()
			}()
		}
		wg.Wait()
		if codes["u@p201"] != 20 || codes["u@p403"] != 4 || codes["v@p201"] != 20 || codes["v@p403"] != 4 {
			t.Errorf("24 keypairs for 20 places, of each of two users: %v", codes)
		}
	})
}

// What is a public key is decided as Nova and its library decide it.
func TestFormsOfPublicKeys(t *testing.T) {
	const (
		rsa     = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQDPTHiuKFr2Ps/ikIIi6Bih8n8iA4vNoz8wAu9yMlpm5o1kBPuSYDqKJAFkhdPUCaoPmyPzmVQWqi+qQ2GkNlE1DVXmdlkn2DRiNRkLlA6yDHTXULXWRqO8XNd3pAgAT9kfqYyyB4DtwIh5s0ZpuQv8DNAQlMqyXeWyQqXkNOsCCw=="
		ed      = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJy3R5xgGk3yQGdGEEDvAWc3DKvxX0p5MvH1SMPPBbNJ"
		edBlob  = "AAAAC3NzaC1lZDI1NTE5AAAAIJy3R5xgGk3yQGdGEEDvAWc3DKvxX0p5MvH1SMPPBbNJ"
		another = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHN+Mh3U/3We4VYtV1QmWUFIzFLTUeegl1Ao5/QGtCRZ"
	)
	tests := []struct {
		name, key string
		code      int
	}{
		{"no comment", ed, 201}, {"comment", ed + " a b  c", 201}, {"line feed", ed + "\n", 201}, {"comment and line feed", ed + " a\n", 201},
		{"CRLF", ed + "\r\n", 201}, {"comment and CRLF", ed + " a\r\n", 201}, {"blank behind", ed + " ", 201},
		{"lines", ed + " a\n" + another + " b\n", 201}, {"a comment first", "# mine\n" + ed, 400},
		{"blanks before", "  " + ed, 400}, {"line feed before", "\n" + ed, 400}, {"tab before", "\t" + ed, 400}, {"byte order mark", "\ufeff" + ed, 400},
		{"two blanks between", "ssh-ed25519  " + edBlob, 201}, {"tab between", "ssh-ed25519\t" + edBlob, 400}, {"line feed between", "ssh-ed25519\n" + edBlob, 400},
		{"options", `no-pty,command="x" ` + ed, 400}, {"type alone", "ssh-ed25519", 400}, {"empty", "", 400}, {"blank", " ", 400},
		{"another type", "ssh-rsa " + edBlob, 400}, {"type in capitals", "SSH-ED25519 " + edBlob, 400}, {"unknown type", "ssh-foo " + edBlob, 400},
		{"cut", ed[:len(ed)-4], 400}, {"one letter short", ed[:len(ed)-1], 400}, {"more behind the key", ed + "AAAA", 400}, {"not base64", "ssh-ed25519 !!!!", 400},
		{"a letter that is none in it", strings.Replace(ed, "NTE5", "NT*E5", 1), 201},
		{"rsa", rsa, 201}, {"more behind the padding", rsa + "AAAA", 201}, {"private key", "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n", 400},
	}
	db := schematest.SQLite(t)
	quota := quotas.New(db, nil)
	s := keypairs.New(db, nil, quota)
	api := apitest.New(t, func(c *compat.Compute) { s.Register(c) })
	for _, tt := range tests {
		body, err := json.Marshal(map[string]any{"keypair": map[string]string{"name": "k", "public_key": tt.key}})
		if err != nil {
			t.Fatal(err)
		}
		got := api.Do(t, apitest.As("u@p", "2.2", "POST", "/os-keypairs", string(body)))
		if got.Code != tt.code || tt.code == 400 && !strings.Contains(got.Body.String(), "Keypair data is invalid: failed to generate fingerprint") {
			t.Errorf("%s = %d %s; want %d", tt.name, got.Code, got.Body, tt.code)
		}
		if got.Code == 201 {
			api.Do(t, apitest.As("u@p", "2.2", "DELETE", "/os-keypairs/k", ""))
		}
	}
}
