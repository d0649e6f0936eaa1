package work

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Secrets is what of Args nobody but the host may read. It lies sealed beside the rest.
type Secrets struct {
	AdminPass   string `json:"admin_pass,omitempty"`   // of the guest
	Password    string `json:"password,omitempty"`     // SetPassword
	ReadTicket  string `json:"read_ticket,omitempty"`  // of the image that the guest boots from
	WriteTicket string `json:"write_ticket,omitempty"` // of the image that a snapshot fills
}

// TakeSecrets takes the secrets out, so that the rest can be kept where others read it.
func (a *Args) TakeSecrets() Secrets {
	s := Secrets{AdminPass: a.Guest.AdminPass, Password: a.Password}
	a.Password = ""
	if a.Guest.Image.Source != nil {
		s.ReadTicket = a.Guest.Image.Source.Ticket
	}
	a.Guest = a.Guest.public()
	if a.Old != nil {
		old := a.Old.public()
		a.Old = &old
	}
	if a.Upload != nil {
		s.WriteTicket = a.Upload.Ticket
		a.Upload = a.Upload.public()
	}
	return s
}

// public is the guest without its secrets; what others hold of it is left alone.
func (g Guest) public() Guest {
	g.AdminPass = ""
	if g.Image.Source != nil {
		g.Image.Source = g.Image.Source.public()
	}
	return g
}

func (t Transfer) public() *Transfer {
	t.Ticket = ""
	return &t
}

// GiveSecrets puts them back.
func (a *Args) GiveSecrets(s Secrets) {
	a.Guest.AdminPass, a.Password = s.AdminPass, s.Password
	if a.Guest.Image.Source != nil {
		a.Guest.Image.Source.Ticket = s.ReadTicket
	}
	if a.Upload != nil {
		a.Upload.Ticket = s.WriteTicket
	}
}

// SecretsLabel is what the secrets of a server's work are sealed for.
func SecretsLabel(server string, generation int64) string {
	return fmt.Sprintf("work of server %s, generation %d", server, generation)
}

// Encode gives the form that is sealed, nothing if there is no secret.
func (s Secrets) Encode() []byte {
	if s == (Secrets{}) {
		return nil
	}
	raw, err := json.Marshal(s)
	if err != nil {
		return nil // a struct of strings always encodes
	}
	return raw
}

// shortestSecret is how long a secret must be to be looked for in a text: a shorter one
// would be found everywhere, and what it is would show by that.
const shortestSecret = 4

// Hide takes the secrets out of a text that others read.
func (s Secrets) Hide(text string) string {
	for _, secret := range []string{s.AdminPass, s.Password, s.ReadTicket, s.WriteTicket} {
		if len(secret) >= shortestSecret {
			text = strings.ReplaceAll(text, secret, "[secret]")
		}
	}
	return text
}
