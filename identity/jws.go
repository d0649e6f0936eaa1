package identity

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"kilonova/schema"
)

// maxToken bounds what is looked at as a token at all; ours have 400 to 700 characters.
const maxToken = 8192

// The "typ" headers keep user tokens and tickets apart: each kind is refused as the other.
const (
	tokenType  = "JWT"
	ticketType = "kilonova-ticket+jwt"
)

// claims are the payload of Keystone's jws provider. There is nothing about roles in it.
type claims struct {
	User     string   `json:"sub"`
	IssuedAt int64    `json:"iat"`
	Expires  int64    `json:"exp"`
	Methods  []string `json:"openstack_methods"`
	AuditIDs []string `json:"openstack_audit_ids"`
	System   string   `json:"openstack_system,omitempty"`
	Domain   string   `json:"openstack_domain_id,omitempty"`
	Project  string   `json:"openstack_project_id,omitempty"`
	AppCred  string   `json:"openstack_app_cred_id,omitempty"`

	// Kinds of token that a Keystone may make and kilonova does not know. Each says more
	// narrowly what its bearer may do, so a token that has one is refused.
	Trust       string   `json:"openstack_trust_id,omitempty"`
	Groups      []string `json:"openstack_group_ids,omitempty"`
	Provider    string   `json:"openstack_idp_id,omitempty"`
	Protocol    string   `json:"openstack_protocol_id,omitempty"`
	AccessToken string   `json:"openstack_access_token_id,omitempty"`
	Thumbprint  string   `json:"openstack_thumbprint,omitempty"`
	Audience    any      `json:"aud,omitempty"` // never in a token
}

var errToken = errors.New("the token is not valid")

// check refuses what no token of ours, or of a Keystone with the same keys, would say.
func (c *claims) check() error {
	scopes := 0
	for _, s := range []string{c.System, c.Domain, c.Project} {
		if s != "" {
			scopes++
		}
	}
	switch {
	case c.User == "" || c.Expires <= 0 || c.IssuedAt <= 0,
		len(c.AuditIDs) == 0 || len(c.AuditIDs) > 2 || len(c.Methods) == 0,
		scopes > 1 || c.System != "" && c.System != "all",
		c.AppCred != "" && c.Project == "":
		return errToken
	case c.Trust != "" || len(c.Groups) > 0 || c.Provider != "" || c.Protocol != "" ||
		c.AccessToken != "" || c.Thumbprint != "" || c.Audience != nil:
		return fmt.Errorf("%w: a kind that is not supported", errToken)
	}
	return nil
}

// issued is when the token was made, in microseconds where its audit id tells: one second
// is too coarse to say which came first, a change of password or a token.
func (c *claims) issued() schema.Micros {
	raw, err := base64.RawURLEncoding.DecodeString(c.AuditIDs[0])
	if err == nil && len(raw) == auditBytes {
		at := schema.Micros(binary.BigEndian.Uint64(raw))
		if int64(at)/microsPerSecond == c.IssuedAt {
			return at
		}
	}
	return schema.Micros(c.IssuedAt * microsPerSecond)
}

const (
	auditBytes      = 16
	microsPerSecond = 1_000_000
)

// newAuditID makes the id of one token: the moment in microseconds and 64 random bits, in
// the 22 characters of Keystone's.
func newAuditID(at schema.Micros) string {
	var raw [auditBytes]byte
	binary.BigEndian.PutUint64(raw[:], uint64(at))
	_, _ = rand.Read(raw[8:]) // never fails: crypto/rand ends the program instead
	return base64.RawURLEncoding.EncodeToString(raw[:])
}

// The claims that the library itself would check are checked by us, since an expired token
// may still serve a request that also has a service token.

// GetExpirationTime gives nothing to the library.
func (*claims) GetExpirationTime() (*jwt.NumericDate, error) { return nil, nil }

// GetIssuedAt gives nothing to the library.
func (*claims) GetIssuedAt() (*jwt.NumericDate, error) { return nil, nil }

// GetNotBefore gives nothing to the library.
func (*claims) GetNotBefore() (*jwt.NumericDate, error) { return nil, nil }

// GetIssuer gives nothing to the library.
func (*claims) GetIssuer() (string, error) { return "", nil }

// GetSubject gives the user.
func (c *claims) GetSubject() (string, error) { return c.User, nil }

// GetAudience gives nothing to the library.
func (*claims) GetAudience() (jwt.ClaimStrings, error) { return nil, nil }

// parser takes ES256 and nothing else: not "none", and no HMAC keyed with a public key.
var parser = jwt.NewParser(jwt.WithValidMethods([]string{"ES256"}), jwt.WithoutClaimsValidation(), jwt.WithStrictDecoding())

// sign makes the compact form of a token or a ticket.
func (k *keyRing) sign(kind string, c jwt.Claims) (string, error) {
	t := jwt.NewWithClaims(jwt.SigningMethodES256, c)
	t.Header["typ"] = kind
	return t.SignedString(k.loaded.Load().private)
}

// open checks the signature of a text of the given type and reads its claims.
func (k *keyRing) open(kind, text string, c jwt.Claims) error {
	if text == "" || len(text) > maxToken {
		return errToken
	}
	_, err := parser.ParseWithClaims(text, c, func(t *jwt.Token) (any, error) {
		if t.Header["typ"] != kind || t.Header["crit"] != nil {
			return nil, errToken
		}
		return k.loaded.Load().public, nil
	})
	if err != nil {
		return fmt.Errorf("%w: %w", errToken, err)
	}
	return nil
}

// ticket is the payload of a ticket.
type ticket struct {
	jwt.RegisteredClaims
}

const ticketAudience = "kilonova:"

// SignTicket makes a ticket: proof, until ttl has passed, that this cloud let its bearer do
// what purpose names to subject. A ticket is never good as a token.
func (s *Service) SignTicket(purpose, subject string, ttl time.Duration) string {
	now := s.cfg.Clock.Now().Time()
	text, err := s.keys.sign(ticketType, &ticket{jwt.RegisteredClaims{
		Subject: subject, Audience: jwt.ClaimStrings{ticketAudience + purpose},
		IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(ttl)),
	}})
	if err != nil {
		return "" // only a broken key fails, and "" opens nothing
	}
	return text
}

// VerifyTicket gives the subject of a ticket for this purpose that has not expired.
func (s *Service) VerifyTicket(purpose, text string) (string, error) {
	var t ticket
	err := s.keys.open(ticketType, text, &t)
	if err != nil {
		return "", err
	}
	if len(t.Audience) != 1 || t.Audience[0] != ticketAudience+purpose || t.Subject == "" || t.ExpiresAt == nil {
		return "", fmt.Errorf("%w: a ticket for something else", errToken)
	}
	if !s.cfg.Clock.Now().Time().Before(t.ExpiresAt.Time) {
		return "", fmt.Errorf("%w: expired", errToken)
	}
	return t.Subject, nil
}
