package tempestlite

import (
	"context"
	"crypto/ed25519"
	"crypto/md5" //nolint:gosec // the fingerprints are of this kind
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strings"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/keypairs"
)

// Key pairs: made, imported, and whose they are.

func keypairChecks() []*Check {
	admin := needs(NeedAdmin)
	return []*Check{
		behaviour("keypairs", "imported", "the fingerprint of an imported key is the MD5 of the key", 2, importedKeys, covers("keypairs.create", "keypairs.show")),
		behaviour("keypairs", "bad-key", "what is no key is not imported", 2, func(t *T) {
			for _, key := range []string{"", "tempest lite", "ssh-rsa AAAA", "ssh-ed25519"} {
				t.refusedKey(2, map[string]any{"name": t.Name(), "public_key": key})
			}
		}, covers("keypairs.create")),
		behaviour("keypairs", "generated", "up to 2.91 a key pair is generated, and the private key shown once", 2, generatedKey, covers("keypairs.create", "keypairs.show")),
		behaviour("keypairs", "not-generated", "from 2.92 on a public key has to be given", 92, func(t *T) {
			t.refusedKey(92, map[string]any{"name": t.Name()})
		}, covers("keypairs.create")),
		behaviour("keypairs", "name-twice", "a user has one key pair of a name, until it is deleted", 2, keyNameTwice, covers("keypairs.create", "keypairs.delete")),
		behaviour("keypairs", "names", "names have letters, digits, blanks, - and _ alone; from 2.92 on @ and . too", 2, keyNames, covers("keypairs.create")),
		behaviour("keypairs", "own", "users do not see each other's key pairs", 2, ownKeys, admin, alone, covers("keypairs.list", "keypairs.show", "keypairs.delete")),
		behaviour("keypairs", "of-others", "an administrator makes, shows, lists and deletes the key pairs of others", 10, keysOfOthers, admin,
			covers("keypairs.create", "keypairs.list", "keypairs.show", "keypairs.delete")),
		behaviour("keypairs", "of-others-forbidden", "a member may not ask for the key pairs of others", 10, keysOfOthersForbidden, admin,
			covers("keypairs.create", "keypairs.list", "keypairs.show", "keypairs.delete")),
		behaviour("keypairs", "sorted", "from 2.35 on the list is sorted by name", 35, keysSorted, alone, covers("keypairs.list")),
	}
}

// sshField is a field of a key as SSH writes it: its length and what it holds.
func sshField(data []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(data))), data...)
}

func sshKey(kind string, fields ...[]byte) (line, fingerprint string) {
	blob := sshField([]byte(kind))
	for _, f := range fields {
		blob = append(blob, sshField(f)...)
	}
	sum := md5.Sum(blob) //nolint:gosec // as above
	pairs := make([]string, len(sum))
	for i, b := range sum {
		pairs[i] = fmt.Sprintf("%02x", b)
	}
	return kind + " " + base64.StdEncoding.EncodeToString(blob) + " tempest-lite", strings.Join(pairs, ":")
}

func (t *T) ed25519Key() (line, fingerprint string) {
	key, _, err := ed25519.GenerateKey(rand.Reader)
	t.OK(err)
	return sshKey("ssh-ed25519", key)
}

func (t *T) rsaKey() (line, fingerprint string) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	t.OK(err)
	// A number's first bit is its sign, so a zero stands before.
	return sshKey("ssh-rsa", big.NewInt(int64(key.E)).Bytes(), append([]byte{0}, key.N.Bytes()...))
}

func (t *T) newKey(as Role, v Version, opts keypairs.CreateOpts) *keypairs.KeyPair {
	pair, err := keypairs.Create(t.Ctx, t.Compute(as, v), opts).Extract()
	t.OK(err)
	path := "/os-keypairs/" + opts.Name
	if opts.UserID == "" {
		t.RemovePath(as, path)
		return pair
	}
	client := t.Compute(as, v)
	t.Remove(path, deletedKey(client, opts.Name, opts.UserID))
	return pair
}

// deletedKey is the ledger's way to remove a key pair of another user.
func deletedKey(client *gophercloud.ServiceClient, name, user string) func(context.Context) error {
	return func(ctx context.Context) error {
		return keypairs.Delete(ctx, client, name, keypairs.DeleteOpts{UserID: user}).ExtractErr()
	}
}

func (t *T) refusedKey(v Version, keypair map[string]any) {
	resp := t.Do(Member, v, "POST", "/os-keypairs", map[string]any{"keypair": keypair})
	if resp.Status < 300 {
		t.RemovePath(Member, "/os-keypairs/"+fmt.Sprint(keypair["name"]))
	}
	if t.Want(resp, http.StatusBadRequest) {
		t.CheckFault(resp)
	}
}

func importedKeys(t *T) {
	for _, make := range []func(*T) (string, string){(*T).ed25519Key, (*T).rsaKey} {
		line, fingerprint := make(t)
		for _, kind := range []string{"", "ssh"} {
			name := t.Name()
			pair := t.newKey(Member, 2, keypairs.CreateOpts{Name: name, PublicKey: line, Type: kind})
			t.Equal("the fingerprint", pair.Fingerprint, fingerprint)
			t.Equal("the public key", pair.PublicKey, line)
			t.Equal("the type", pair.Type, "ssh")
			t.Equal("the private key of an imported key", pair.PrivateKey, "")
			shown, err := keypairs.Get(t.Ctx, t.Compute(Member, 2), name, nil).Extract()
			t.OK(err)
			t.Equal("the fingerprint that is shown", shown.Fingerprint, fingerprint)
		}
	}
}

func generatedKey(t *T) {
	name := t.Name()
	pair := t.newKey(Member, 2, keypairs.CreateOpts{Name: name})
	if !strings.Contains(pair.PrivateKey, "PRIVATE KEY") || !strings.HasPrefix(pair.PublicKey, "ssh-") {
		t.Errorf("no pair of keys comes back: the public one is %q", pair.PublicKey)
	}
	shown := t.Must(Member, 2, "GET", "/os-keypairs/"+name, nil, http.StatusOK)
	t.Equal("the public key that is shown", shown.Str("keypair", "public_key"), pair.PublicKey)
	if shown.Get("keypair", "private_key") != nil {
		t.Errorf("the private key is shown again")
	}
}

func keyNameTwice(t *T) {
	line, _ := t.ed25519Key()
	opts := keypairs.CreateOpts{Name: t.Name(), PublicKey: line}
	client := t.Compute(Member, 2)
	t.newKey(Member, 2, opts)
	resp := t.Do(Member, 2, "POST", "/os-keypairs", map[string]any{"keypair": map[string]any{"name": opts.Name, "public_key": line}})
	if t.Want(resp, http.StatusConflict) {
		t.WantMessage(resp, "Key pair '"+opts.Name+"' already exists.")
	}
	t.OK(keypairs.Delete(t.Ctx, client, opts.Name, nil).ExtractErr())
	t.WantCode(keypairs.Delete(t.Ctx, client, opts.Name, nil).ExtractErr(), http.StatusNotFound)
	t.newKey(Member, 2, opts)
}

func keyNames(t *T) {
	line, _ := t.ed25519Key()
	for _, name := range []string{t.Name() + "@x", t.Name() + ".x", t.Name() + "/x", " " + t.Name(), t.Name() + " ", "", strings.Repeat("a", 256)} {
		t.refusedKey(2, map[string]any{"name": name, "public_key": line})
	}
	t.newKey(Member, 2, keypairs.CreateOpts{Name: t.Name() + "_A", PublicKey: line})
	if t.Cloud.Max >= 92 {
		t.newKey(Member, 92, keypairs.CreateOpts{Name: t.Name() + "@a.b", PublicKey: line, Type: "ssh"})
	}
}

func ownKeys(t *T) {
	line, _ := t.ed25519Key()
	opts := keypairs.CreateOpts{Name: t.Name(), PublicKey: line}
	t.newKey(Member, 2, opts)
	other := t.Compute(Other, 2)
	_, err := keypairs.Get(t.Ctx, other, opts.Name, nil).Extract()
	t.WantCode(err, http.StatusNotFound)
	t.WantCode(keypairs.Delete(t.Ctx, other, opts.Name, nil).ExtractErr(), http.StatusNotFound)
	t.newKey(Other, 2, opts) // names are each user's own
}

func (t *T) keyNames(as Role, v Version, opts keypairs.ListOpts) []string {
	page, err := keypairs.List(t.Compute(as, v), opts).AllPages(t.Ctx)
	t.OK(err)
	all, err := keypairs.ExtractKeyPairs(page)
	t.OK(err)
	names := make([]string, len(all))
	for i := range all {
		names[i] = all[i].Name
	}
	return names
}

func keysOfOthers(t *T) {
	line, _ := t.ed25519Key()
	name, user := t.Name(), t.Cloud.UserID(Member)
	pair := t.newKey(Admin, 10, keypairs.CreateOpts{Name: name, PublicKey: line, UserID: user})
	t.Equal("the user", pair.UserID, user)
	_, err := keypairs.Get(t.Ctx, t.Compute(Member, 10), name, nil).Extract()
	t.OK(err)
	client := t.Compute(Admin, 10)
	_, err = keypairs.Get(t.Ctx, client, name, nil).Extract()
	t.WantCode(err, http.StatusNotFound) // it is not the administrator's own
	_, err = keypairs.Get(t.Ctx, client, name, keypairs.GetOpts{UserID: user}).Extract()
	t.OK(err)
	t.Equal("that the user's list has it", slices.Contains(t.keyNames(Admin, 10, keypairs.ListOpts{UserID: user}), name), true)
	t.Equal("that the administrator's list has it", slices.Contains(t.keyNames(Admin, 10, keypairs.ListOpts{}), name), false)
	t.OK(keypairs.Delete(t.Ctx, client, name, keypairs.DeleteOpts{UserID: user}).ExtractErr())
	_, err = keypairs.Get(t.Ctx, t.Compute(Member, 10), name, nil).Extract()
	t.WantCode(err, http.StatusNotFound)
}

func keysOfOthersForbidden(t *T) {
	line, _ := t.ed25519Key()
	user, name := t.Cloud.UserID(Other), t.Name()
	query := "?user_id=" + user
	body := map[string]any{"keypair": map[string]any{"name": name, "public_key": line, "type": "ssh", "user_id": user}}
	t.Want(t.Do(Member, 10, "POST", "/os-keypairs", body), http.StatusForbidden)
	t.Want(t.Do(Member, 10, "GET", "/os-keypairs"+query, nil), http.StatusForbidden)
	t.Want(t.Do(Member, 10, "GET", "/os-keypairs/"+name+query, nil), http.StatusForbidden)
	t.Want(t.Do(Member, 10, "DELETE", "/os-keypairs/"+name+query, nil), http.StatusForbidden)
}

func keysSorted(t *T) {
	line, _ := t.ed25519Key()
	prefix := t.Name()
	for _, end := range []string{"-c", "-a", "-b"} {
		t.newKey(Member, 35, keypairs.CreateOpts{Name: prefix + end, PublicKey: line})
	}
	names := slices.DeleteFunc(t.keyNames(Member, 35, keypairs.ListOpts{}), func(n string) bool { return !strings.HasPrefix(n, prefix+"-") })
	t.Equal("the names", names, []string{prefix + "-a", prefix + "-b", prefix + "-c"})
}
