package keypairs

import (
	"crypto/md5" //nolint:gosec // the fingerprint that clients know keys by; nothing rests on it
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // as above, of certificates
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
	"golang.org/x/crypto/ssh"

	"kilonova/compat"
)

// bits is the size of the RSA keys that are made, as Nova makes them.
const bits = 2048

// invalid is Nova's text for a key that cannot be used.
func invalid(reason string) *compat.Fault {
	return compat.BadRequest("Keypair data is invalid: %s", reason)
}

// fingerprint checks a public key and gives what clients know it by, or a 400 Fault.
func fingerprint(kind, publicKey string) (string, error) {
	if kind == X509 {
		return certificateFingerprint(publicKey)
	}
	bad := invalid("failed to generate fingerprint")
	line := keyLine.FindStringSubmatch(publicKey)
	if line == nil {
		return "", bad
	}
	blob, err := looseBase64(line[2])
	if err != nil {
		return "", bad
	}
	key, err := ssh.ParsePublicKey(blob)
	if err != nil || key.Type() != line[1] {
		return "", bad
	}
	// Nova checks the second word and takes the fingerprint of what stands between the first
	// two spaces. Where that is not the same, its clients see what it says.
	parts := strings.Split(publicKey, " ")
	if len(parts) < 2 {
		return "", bad
	}
	shown, err := looseBase64(parts[1])
	if err != nil {
		return "", bad
	}
	sum := md5.Sum(shown) //nolint:gosec // see the import
	return colons(sum[:]), nil
}

// keyLine is a key's type and data; what follows is comment. Nothing may stand before.
var keyLine = regexp.MustCompile(`^([^\s\v]+)[ \t]+([^\s\v]+)`)

var errBase64 = errors.New("not base64")

// looseBase64 decodes as Python does: what is not of the alphabet is skipped, and the first
// whole padding ends the data.
func looseBase64(s string) ([]byte, error) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	var digits []byte
	pads := 0
	for i := range len(s) {
		if s[i] == '=' {
			pads++
			if rest := len(digits) % 4; rest >= 2 && rest+pads >= 4 {
				return base64.RawStdEncoding.DecodeString(string(digits))
			}
			continue
		}
		if strings.IndexByte(alphabet, s[i]) >= 0 {
			digits, pads = append(digits, s[i]), 0
		}
	}
	if len(digits)%4 != 0 {
		return nil, errBase64
	}
	return base64.RawStdEncoding.DecodeString(string(digits))
}

func certificateFingerprint(text string) (string, error) {
	block, rest := pem.Decode([]byte(text))
	for block != nil && block.Type != "CERTIFICATE" && block.Type != "X509 CERTIFICATE" {
		block, rest = pem.Decode(rest)
	}
	if block == nil {
		return "", invalid("failed to generate X509 fingerprint. Error message: no certificate in PEM form")
	}
	_, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return "", invalid("failed to generate X509 fingerprint. Error message: the certificate cannot be read")
	}
	sum := sha1.Sum(block.Bytes) //nolint:gosec // see the import
	return colons(sum[:]), nil
}

// colons writes bytes as 0a:1b:...
func colons(b []byte) string {
	parts := make([]string, len(b))
	for i, c := range b {
		parts[i] = hex.EncodeToString([]byte{c})
	}
	return strings.Join(parts, ":")
}

// generate makes a key and gives its halves.
func generate(kind, userID string, now time.Time) (public, private string, err error) {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		return "", "", fmt.Errorf("make a key: %w", err)
	}
	if kind == X509 {
		return certificate(key, userID, now)
	}
	pub, err := ssh.NewPublicKey(&key.PublicKey)
	if err != nil {
		return "", "", fmt.Errorf("make a key: %w", err)
	}
	public = pub.Type() + " " + base64.StdEncoding.EncodeToString(pub.Marshal()) + " Generated-by-Nova"
	private = string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
	return public, private, nil
}

var (
	subjectAltName    = asn1.ObjectIdentifier{2, 5, 29, 17}
	userPrincipalName = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 20, 2, 3}
)

// certificate makes a certificate with which Windows guests let the user in over WinRM.
func certificate(key *rsa.PrivateKey, userID string, now time.Time) (public, private string, err error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 159))
	if err != nil {
		return "", "", fmt.Errorf("make a certificate: %w", err)
	}
	var names cryptobyte.Builder
	names.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.Tag(0).Constructed().ContextSpecific(), func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(userPrincipalName)
			b.AddASN1(cbasn1.Tag(0).Constructed().ContextSpecific(), func(b *cryptobyte.Builder) {
				b.AddASN1(cbasn1.UTF8String, func(b *cryptobyte.Builder) { b.AddBytes([]byte(userID + "@localhost")) })
			})
		})
	})
	san, err := names.Bytes()
	if err != nil {
		return "", "", fmt.Errorf("make a certificate: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: userID},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(10, 0, 0),
		ExtKeyUsage:     []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		ExtraExtensions: []pkix.Extension{{Id: subjectAltName, Value: san}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return "", "", fmt.Errorf("make a certificate: %w", err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", "", fmt.Errorf("make a certificate: %w", err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})), nil
}
