package servers

import (
	"net/http"

	"kilonova/compat"
	"kilonova/work"
)

func (s *Service) changePassword(w http.ResponseWriter, r *compat.Request) error {
	var body struct {
		Change struct {
			AdminPass string `json:"adminPass"`
		} `json:"changePassword"`
	}
	err := r.Decode(&body)
	if err != nil {
		return err
	}
	_, err = s.begin(r.Context(), r.Caller, of(r), opPassword, body.Change.AdminPass)
	if err != nil {
		return err
	}
	return r.Answer(w, nil)
}

func preparePassword(b *beginning) (*work.Args, error) {
	args, err := prepareGuest(b)
	if err != nil {
		return nil, err
	}
	args.Password = b.input.(string)
	return args, nil
}
