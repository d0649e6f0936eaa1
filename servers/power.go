package servers

import (
	"net/http"
	"strings"
	"time"

	"kilonova/compat"
	"kilonova/work"
)

// simple makes the handler of an action whose request says nothing but its name.
func (s *Service) simple(op string) compat.Handler {
	return func(w http.ResponseWriter, r *compat.Request) error {
		_, err := s.begin(r.Context(), r.Caller, of(r), op, nil)
		if err != nil {
			return err
		}
		return r.Answer(w, nil)
	}
}

func (s *Service) reboot(w http.ResponseWriter, r *compat.Request) error {
	var body struct {
		Reboot struct {
			Type string `json:"type"`
		} `json:"reboot"`
	}
	err := r.Decode(&body)
	if err != nil {
		return err
	}
	op := opRebootSoft
	if strings.EqualFold(body.Reboot.Type, "HARD") {
		op = opRebootHard
	}
	return s.simple(op)(w, r)
}

// prepareStop lets the guest shut down by itself.
func prepareStop(b *beginning) (*work.Args, error) { return b.withTimeout(b.s.ShutdownTimeout) }

func prepareReboot(b *beginning) (*work.Args, error) { return b.withTimeout(softRebootTimeout) }

// withTimeout is work that may have to shut the guest down, which may take so long.
func (b *beginning) withTimeout(d time.Duration) (*work.Args, error) {
	args, err := prepareGuest(b)
	if err != nil {
		return nil, err
	}
	args.ShutdownTimeout = int(d.Seconds())
	return args, nil
}

// settleReboot leaves a guest that would not reboot, and runs, ACTIVE.
func settleReboot(x *settling) error {
	if !x.ok && x.res.PowerState == work.PoweredOn {
		x.set["vm_state"] = Active
	}
	return nil
}
