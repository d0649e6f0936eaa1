package keypairs

import (
	"context"
	"math"
	"net/http"
	"regexp"

	"kilonova/compat"
)

// Register adds the operations of keypairs to the API.
func (s *Service) Register(api *compat.Compute) {
	api.Target("/os-keypairs", target)
	api.Target("/os-keypairs/{id}", target)
	api.Handle("GET /os-keypairs", s.index)
	api.Handle("POST /os-keypairs", s.create)
	api.Handle("GET /os-keypairs/{id}", s.show)
	api.Handle("DELETE /os-keypairs/{id}", s.delete)
}

// Where requests change.
var (
	hasTypes   = compat.Since(2)
	namesUsers = compat.Since(10)
	hasPages   = compat.Since(35)
	onlyTakes  = compat.Since(92) // and generates nothing any more
)

type createBody struct {
	Keypair *struct {
		Name      string  `json:"name"`
		PublicKey *string `json:"public_key"`
		Type      string  `json:"type"`
		UserID    string  `json:"user_id"`
	} `json:"keypair"`
}

// target is the user whose keypairs the request is about: another one than the caller only
// when the request says so, which it can from 2.10.
func target(r *compat.Request) compat.Target {
	t := compat.Target{ProjectID: r.Caller.ProjectID, UserID: r.Caller.UserID}
	if !namesUsers.Has(r.Version) {
		return t
	}
	asked := last(r.Query["user_id"])
	if r.Method == http.MethodPost {
		asked = ""
		var body createBody
		if r.Decode(&body) == nil && body.Keypair != nil {
			asked = body.Keypair.UserID
		}
	}
	if asked != "" {
		t.UserID = asked
	}
	return t
}

// last is the value of a query parameter that counts: the last one, as in Nova.
func last(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[len(values)-1]
}

// index answers GET /os-keypairs.
func (s *Service) index(w http.ResponseWriter, r *compat.Request) error {
	user, limit, marker := target(r).UserID, -1, ""
	if hasPages.Has(r.Version) {
		n, fault := compat.ParseLimit(r.Query, maxPage)
		if fault != nil {
			return fault
		}
		limit, marker = n, last(r.Query["marker"])
	}
	if marker != "" {
		_, err := s.Get(r.Context(), user, marker)
		if compat.IsNotFound(err) {
			return compat.BadRequest("Marker %s could not be found.", clip(marker))
		}
		if err != nil {
			return err
		}
	}
	page, err := s.list(r.Context(), user, marker, limit)
	if err != nil {
		return err
	}
	return answerList(w, r, page, limit)
}

// maxPage is the largest page of a list.
const maxPage = 1000

// show answers GET /os-keypairs/{id}.
func (s *Service) show(w http.ResponseWriter, r *compat.Request) error {
	k, err := s.Get(r.Context(), target(r).UserID, r.Var("id"))
	if err != nil {
		return err
	}
	return answer(w, r, k, "show", nil)
}

// delete answers DELETE /os-keypairs/{id}.
func (s *Service) delete(w http.ResponseWriter, r *compat.Request) error {
	err := s.remove(r.Context(), target(r).UserID, r.Var("id"))
	if err != nil {
		return err
	}
	return r.Answer(w, nil)
}

// create answers POST /os-keypairs.
func (s *Service) create(w http.ResponseWriter, r *compat.Request) error {
	var body createBody
	err := r.Decode(&body)
	if err != nil {
		return err
	}
	if body.Keypair == nil {
		return compat.BadRequest("'keypair' is a required property")
	}
	err = checkName(body.Keypair.Name, r.Version)
	if err != nil {
		return err
	}
	k := &Keypair{UserID: target(r).UserID, Name: body.Keypair.Name, Type: SSH, CreatedAt: s.clock.Now()}
	if len(k.UserID) > 255 {
		return compat.BadRequest("Invalid input for field/attribute user_id. Value: %s. It is too long", clip(k.UserID))
	}
	if hasTypes.Has(r.Version) && body.Keypair.Type != "" {
		k.Type = body.Keypair.Type
	}
	if k.Type != SSH && k.Type != X509 {
		return compat.BadRequest("Invalid input for field/attribute type. Value: %s. '%s' is not one of ['ssh', 'x509']", clip(k.Type), clip(k.Type))
	}
	limit, err := s.limit(r.Context(), r.Caller.ProjectID, k.UserID)
	if err != nil {
		return err
	}
	err = room(r.Context(), s.db, k.UserID, limit)
	if err != nil {
		return err
	}
	private, err := s.complete(k, body.Keypair.PublicKey, r.Version)
	if err != nil {
		return err
	}
	err = s.insert(r.Context(), k, limit)
	if err != nil {
		return err
	}
	return answer(w, r, k, "create", private)
}

// complete fills in the key, the client's or a new one, and gives a new one's private half.
func (s *Service) complete(k *Keypair, public *string, v compat.Version) (private *string, err error) {
	switch {
	case public != nil:
		k.PublicKey = *public
	case onlyTakes.Has(v):
		return nil, compat.BadRequest("Invalid input for field/attribute keypair. Value: {'name': '%s'}. 'public_key' is a required property", k.Name)
	default:
		var secret string
		k.PublicKey, secret, err = generate(k.Type, k.UserID, s.clock.Now().Time())
		if err != nil {
			return nil, err
		}
		private = &secret
	}
	k.Fingerprint, err = fingerprint(k.Type, k.PublicKey)
	return private, err
}

// limit is how many keypairs the user may have.
func (s *Service) limit(ctx context.Context, projectID, userID string) (int, error) {
	n, err := s.limits.Limit(ctx, projectID, userID, "key_pairs")
	if err != nil {
		return 0, err
	}
	if n < 0 {
		return math.MaxInt32, nil
	}
	return n, nil
}

var nameForms = []struct {
	at   compat.Range
	form *regexp.Regexp
}{
	{onlyTakes, regexp.MustCompile(`^[_\-@. a-zA-Z0-9]{1,255}$`)},
	{compat.Since(compat.MinVersion), regexp.MustCompile(`^[_\- a-zA-Z0-9]{1,255}$`)},
}

// checkName holds a name against the rule of the version.
func checkName(name string, v compat.Version) error {
	for _, f := range nameForms {
		if !f.at.Has(v) {
			continue
		}
		if f.form.MatchString(name) {
			return nil
		}
		return invalid("Keypair name contains unsafe characters")
	}
	return nil
}
