package secrets

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/hpke"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"kilonova/private"
)

// ErrSealed says that something cannot be opened: it was sealed with another key, for
// another label, or it was changed.
var ErrSealed = errors.New("sealed with another key, or not what was sealed")

const keySize = 32

// Key is the key of a state folder. It does not print itself.
type Key struct {
	root [keySize]byte
	kept cipher.AEAD
}

// String hides the key.
func (*Key) String() string { return "[key]" }

// GoString hides the key.
func (*Key) GoString() string { return "[key]" }

// Load reads a key file; fs.ErrNotExist says that there is none.
func Load(path string) (*Key, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the key of secrets: %w", err)
	}
	root := make([]byte, keySize+1)
	n, err := base64.StdEncoding.Decode(root, bytes.TrimSpace(raw[:min(len(raw), base64.StdEncoding.EncodedLen(keySize)+1)]))
	if err != nil || n != keySize {
		return nil, fmt.Errorf("read the key of secrets: %s does not hold %d bytes in base64", path, keySize)
	}
	return newKey(root[:n])
}

// LoadOrMake reads a key file, and makes it when there is none.
func LoadOrMake(path string) (*Key, error) {
	k, err := Load(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return k, err
	}
	var root [keySize]byte
	_, _ = rand.Read(root[:]) // it never fails: the runtime stops the process first
	err = private.Create(path, []byte(base64.StdEncoding.EncodeToString(root[:])+"\n"))
	if err != nil && !errors.Is(err, fs.ErrExist) { // of a process that started at the same moment
		return nil, fmt.Errorf("make the key of secrets: %w", err)
	}
	return Load(path)
}

// Random is a key that nobody keeps.
func Random() *Key {
	var root [keySize]byte
	_, _ = rand.Read(root[:]) // as above
	k, err := newKey(root[:])
	if err != nil {
		panic(err) // a key of the right size is one
	}
	return k
}

func newKey(root []byte) (*Key, error) {
	k := &Key{}
	copy(k.root[:], root)
	derived, err := k.derive("kept", keySize)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(derived)
	if err == nil {
		k.kept, err = cipher.NewGCMWithRandomNonce(block)
	}
	if err != nil {
		return nil, fmt.Errorf("make the key of secrets: %w", err)
	}
	return k, nil
}

// derive gives a key of its own for each purpose.
func (k *Key) derive(purpose string, size int) ([]byte, error) {
	out, err := hkdf.Key(sha256.New, k.root[:], nil, "kilonova "+purpose, size)
	if err != nil {
		return nil, fmt.Errorf("derive a key: %w", err)
	}
	return out, nil
}

// CheckValue tells whether two keys are the same one, and nothing else of them.
func (k *Key) CheckValue() (string, error) {
	const size = 16
	out, err := k.derive("check", size)
	return base64.RawURLEncoding.EncodeToString(out), err
}

// form begins everything that is sealed, so that another form can follow it one day.
const form = "1:"

func encode(raw []byte) string { return form + base64.RawStdEncoding.EncodeToString(raw) }

func decode(sealed string) ([]byte, error) {
	if len(sealed) < len(form) || sealed[:len(form)] != form {
		return nil, ErrSealed
	}
	raw, err := base64.RawStdEncoding.DecodeString(sealed[len(form):])
	if err != nil {
		return nil, ErrSealed
	}
	return raw, nil
}

// Keep seals something for whoever has this key.
func (k *Key) Keep(label string, plain []byte) string {
	return encode(k.kept.Seal(nil, nil, plain, []byte(label)))
}

// Open gives what Keep sealed.
func (k *Key) Open(label, sealed string) ([]byte, error) {
	raw, err := decode(sealed)
	if err != nil {
		return nil, err
	}
	plain, err := k.kept.Open(nil, nil, raw, []byte(label))
	if err != nil {
		return nil, ErrSealed
	}
	return plain, nil
}

// HostKey is the pair of keys of a host.
type HostKey struct {
	private hpke.PrivateKey
	public  string
}

// String hides the key.
func (*HostKey) String() string { return "[key]" }

// GoString hides the key.
func (*HostKey) GoString() string { return "[key]" }

// The suite of RFC 9180 in which hosts are written to.
var (
	kem  = hpke.DHKEM(ecdh.X25519())
	kdf  = hpke.HKDFSHA256()
	aead = hpke.AES256GCM()
)

// Host gives the pair of keys of a host whose daemon has this key's folder.
func (k *Key) Host(name string) (*HostKey, error) {
	seed, err := k.derive("host "+name, keySize)
	if err != nil {
		return nil, err
	}
	h := &HostKey{}
	h.private, err = kem.DeriveKeyPair(seed)
	if err != nil {
		return nil, fmt.Errorf("derive the keys of host %s: %w", name, err)
	}
	h.public = base64.RawURLEncoding.EncodeToString(h.private.PublicKey().Bytes())
	return h, nil
}

// PublicSize is how many characters a public key has.
const PublicSize = 43

// Public gives the public key, in PublicSize characters.
func (h *HostKey) Public() string { return h.public }

// SealFor seals something for the host that has this public key.
func SealFor(public, label string, plain []byte) (string, error) {
	raw, err := base64.RawURLEncoding.DecodeString(public)
	if err != nil {
		return "", fmt.Errorf("seal for a host: its key cannot be read")
	}
	key, err := kem.NewPublicKey(raw)
	if err != nil {
		return "", fmt.Errorf("seal for a host: %w", err)
	}
	sealed, err := hpke.Seal(key, kdf, aead, []byte(label), plain)
	if err != nil {
		return "", fmt.Errorf("seal for a host: %w", err)
	}
	return encode(sealed), nil
}

// Open gives what SealFor sealed.
func (h *HostKey) Open(label, sealed string) ([]byte, error) {
	raw, err := decode(sealed)
	if err != nil {
		return nil, err
	}
	plain, err := hpke.Open(h.private, kdf, aead, []byte(label), raw)
	if err != nil {
		return nil, ErrSealed
	}
	return plain, nil
}
