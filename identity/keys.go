package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// keyRing holds the key that signs tokens and the keys that tokens are checked with, from a
// folder laid out as Keystone's: private/private.pem, and any number of files in public/.
// To rotate, put the new public key there on all nodes, then replace the private one.
type keyRing struct {
	dir    string
	loaded atomic.Pointer[keys]
}

// keys are the key files as they were at one moment.
type keys struct {
	private *ecdsa.PrivateKey
	public  jwt.VerificationKeySet
	stamp   string // the files' names, sizes and times
}

// openKeys reads the folder and makes a pair of keys when it holds none.
func openKeys(dir string) (*keyRing, error) {
	k := &keyRing{dir: dir}
	err := k.generate()
	if err != nil {
		return nil, fmt.Errorf("make token keys: %w", err)
	}
	stamp, err := k.stamp()
	if err == nil {
		err = k.load(stamp)
	}
	if err != nil {
		return nil, fmt.Errorf("read token keys: %w", err)
	}
	return k, nil
}

func (k *keyRing) privatePath() string { return filepath.Join(k.dir, "private", "private.pem") }

// generate makes the pair. The private key appears last and in one step, by a link that
// fails when there is one, so that of two processes that start at once one wins.
func (k *keyRing) generate() error {
	_, err := os.Stat(k.privatePath())
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	const private = 0o700
	for _, sub := range []string{"private", "public"} {
		err = os.MkdirAll(filepath.Join(k.dir, sub), private)
		if err != nil {
			return err
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	pub, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return err
	}
	fresh, err := writePEM(filepath.Join(k.dir, "private"), "PRIVATE KEY", der)
	if err != nil {
		return err
	}
	freshPublic, err := writePEM(filepath.Join(k.dir, "private"), "PUBLIC KEY", pub)
	if err != nil {
		return err
	}
	defer func() {
		_ = errors.Join(os.Remove(fresh), os.Remove(freshPublic)) // the second is gone if all went well
	}()
	err = os.Link(fresh, k.privatePath())
	if errors.Is(err, fs.ErrExist) {
		return k.awaitPublic()
	}
	if err != nil {
		return err
	}
	return os.Rename(freshPublic, filepath.Join(k.dir, "public", "public.pem"))
}

// awaitPublic waits a moment for the public half that the winner of the race is writing.
func (k *keyRing) awaitPublic() error {
	const tries, pause = 100, 20 * time.Millisecond
	for range tries {
		_, err := os.Stat(filepath.Join(k.dir, "public", "public.pem"))
		if err == nil {
			return nil
		}
		time.Sleep(pause)
	}
	return errors.New("another process made the private key and no public one")
}

// writePEM writes a new file with mode 0600 and gives its path.
func writePEM(dir, kind string, der []byte) (string, error) {
	f, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return "", err
	}
	err = pem.Encode(f, &pem.Block{Type: kind, Bytes: der})
	return f.Name(), errors.Join(err, f.Sync(), f.Close())
}

// stamp changes when a key file does.
func (k *keyRing) stamp() (string, error) {
	var b strings.Builder
	info, err := os.Stat(k.privatePath())
	if err != nil {
		return "", err
	}
	fmt.Fprintln(&b, info.Size(), info.ModTime().UnixNano())
	entries, err := os.ReadDir(filepath.Join(k.dir, "public"))
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return "", err
		}
		fmt.Fprintln(&b, e.Name(), info.Size(), info.ModTime().UnixNano())
	}
	return b.String(), nil
}

// load reads all key files. The private key's own public half is always among those that
// tokens are checked with; a file that holds no key is passed over with a warning, as it
// must not stop the others from working.
func (k *keyRing) load(stamp string) error {
	raw, err := os.ReadFile(k.privatePath())
	if err != nil {
		return err
	}
	out := &keys{stamp: stamp}
	out.private, err = jwt.ParseECPrivateKeyFromPEM(raw)
	if err != nil || out.private.Curve != elliptic.P256() {
		return fmt.Errorf("%s holds no P-256 key in PKCS#8", k.privatePath())
	}
	out.public.Keys = []jwt.VerificationKey{&out.private.PublicKey}
	entries, err := os.ReadDir(filepath.Join(k.dir, "public"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		pub, err := readPublic(filepath.Join(k.dir, "public", e.Name()))
		if err != nil {
			slog.Warn("a file among the token keys is passed over", "file", e.Name(), "err", err)
			continue
		}
		if !out.private.PublicKey.Equal(pub) {
			out.public.Keys = append(out.public.Keys, pub)
		}
	}
	k.loaded.Store(out)
	return nil
}

// readPublic reads a file that should hold a key, and may be anything: a pipe that nobody
// writes to, a link to nowhere, another's.
func readPublic(path string) (*ecdsa.PublicKey, error) {
	const largest = 1 << 16
	info, err := os.Stat(path)
	if err == nil && (!info.Mode().IsRegular() || info.Size() > largest) {
		err = errors.New("it is no file of a key's size")
	}
	if err != nil {
		return nil, err
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pub, err := jwt.ParseECPublicKeyFromPEM(raw)
	if err == nil && pub.Curve != elliptic.P256() {
		err = errors.New("it holds no P-256 public key")
	}
	return pub, err
}

// reload reads the files again if one has changed, and says whether it did. Keys that
// cannot be read leave the old ones in use.
func (k *keyRing) reload() (bool, error) {
	stamp, err := k.stamp()
	if err != nil {
		return false, fmt.Errorf("look at token keys: %w", err)
	}
	if stamp == k.loaded.Load().stamp {
		return false, nil
	}
	err = k.load(stamp)
	if err != nil {
		return false, fmt.Errorf("read token keys: %w", err)
	}
	return true, nil
}
