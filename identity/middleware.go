package identity

import (
	"context"
	"errors"
	"net/http"
	"time"

	"kilonova/compat"
)

type contextKey int

const (
	sessionKey contextKey = iota
	bodyKey               // the request's body, an object
)

// sessionFrom gives the checked token of a request to this package's own handlers.
func sessionFrom(ctx context.Context) *session {
	s, _ := ctx.Value(sessionKey).(*session)
	return s
}

const unauthenticated = "The request you have made requires authentication."

// Authenticate is the token check of all services: it puts the caller of X-Auth-Token into
// the request's context, or answers 401. With an X-Service-Token of the role service, the
// user's token may have expired up to two days ago; a service token that is not good fails
// the request. When revocations cannot be read the answer is 503.
func (s *Service) Authenticate(next http.Handler) http.Handler {
	return s.AuthenticateAs(compat.TitledFault)(next)
}

// AuthenticateAs is Authenticate for a service that writes even these errors in a form of
// its own.
func (s *Service) AuthenticateAs(write compat.FaultWriter) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			t, err := s.authenticate(r)
			if err != nil {
				s.failAs(w, r, write, err)
				return
			}
			ctx := context.WithValue(compat.WithCaller(r.Context(), t.caller), sessionKey, t)
			next.ServeHTTP(w, r.WithContext(ctx))
		})
	}
}

func (s *Service) authenticate(r *http.Request) (*session, error) {
	var grace time.Duration
	if given := r.Header["X-Service-Token"]; len(given) > 0 && given[0] != "" {
		if len(given) > 1 {
			return nil, compat.Unauthorized(unauthenticated)
		}
		t, err := s.verify(r.Context(), given[0], 0)
		if err == nil && !t.caller.Has("service") {
			err = errToken
		}
		if err != nil {
			return nil, refused(err)
		}
		grace = expiredWindow
	}
	given := r.Header["X-Auth-Token"]
	if len(given) != 1 {
		return nil, compat.Unauthorized(unauthenticated)
	}
	t, err := s.verify(r.Context(), given[0], grace)
	if err != nil {
		return nil, refused(err)
	}
	return t, nil
}

// refused is the answer to a token that verify did not accept.
func refused(err error) error {
	if errors.Is(err, errToken) {
		return &compat.Fault{Code: http.StatusUnauthorized, Message: unauthenticated, Err: err}
	}
	return &compat.Fault{Code: http.StatusServiceUnavailable, Message: "The identity service is temporarily unavailable.", Err: err}
}

// fail answers with Keystone's error document.
func (s *Service) fail(w http.ResponseWriter, r *http.Request, err error) {
	s.failAs(w, r, compat.TitledFault, err)
}

// failAs answers with an error; a 401 says where to log in.
func (s *Service) failAs(w http.ResponseWriter, r *http.Request, write compat.FaultWriter, err error) {
	compat.Fail(w, r, func(w http.ResponseWriter, r *http.Request, f *compat.Fault) {
		if f.Code == http.StatusUnauthorized {
			w.Header().Set("Www-Authenticate", `Keystone uri="`+s.base(r)+`"`)
		}
		write(w, r, f)
	}, err)
}
