package compat_test

import (
	"bytes"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"

	"kilonova/compat"
	"kilonova/schema"
)

// TestFail holds what clients see of an error, and what the log has of it.
func TestFail(t *testing.T) {
	broken := errors.New("disk on fire")
	for name, c := range map[string]struct {
		err  error
		gone bool
		code int
		log  string
	}{
		"a client's mistake":         {compat.BadRequest("no"), false, 400, ""},
		"what is no fault":           {fmt.Errorf("read: %w", broken), false, 500, "read: disk on fire"},
		"a fault with its cause":     {&compat.Fault{Code: 503, Message: "Try later.", Err: broken}, false, 503, "Try later.: disk on fire"},
		"a mistake, client gone":     {compat.NotFound("nothing"), true, 404, ""},
		"a statement cut short":      {fmt.Errorf("find: %w", context.Canceled), true, 400, ""},
		"unavailable, client gone":   {&compat.Fault{Code: 503, Err: broken}, true, 400, ""},
		"cut short, client is there": {fmt.Errorf("find: %w", context.Canceled), false, 500, "find: context canceled"},
	} {
		var log bytes.Buffer
		was := slog.Default()
		slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
		ctx, end := context.WithCancel(context.Background())
		if c.gone {
			end()
		}
		w := httptest.NewRecorder()
		compat.Fail(w, httptest.NewRequestWithContext(ctx, "GET", "/", nil), compat.ComputeFault, c.err)
		end()
		slog.SetDefault(was)
		if w.Code != c.code || strings.Contains(w.Body.String(), "fire") {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
		if said := log.String(); c.log == "" && said != "" || !strings.Contains(said, c.log) {
			t.Errorf("%s: the log says %q", name, said)
		}
	}
}

// A full disk is no failure of the program: whoever asked may ask again, in every service.
func TestAFullDiskIsA503(t *testing.T) {
	err := fmt.Errorf("write image row: %w", syscall.ENOSPC)
	quiet := fmt.Errorf("write image row: %w", schema.ErrScarce)
	var log bytes.Buffer
	was := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	defer slog.SetDefault(was)
	for name, write := range map[string]compat.FaultWriter{"compute": compat.ComputeFault, "identity": compat.TitledFault, "network": compat.NeutronFault, "image": compat.FrameworkFault} {
		w := httptest.NewRecorder()
		compat.Fail(w, httptest.NewRequest("POST", "/", nil), write, err)
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), "has no disk left") || strings.Contains(w.Body.String(), "ENOSPC") {
			t.Errorf("%s: %d %v %s", name, w.Code, w.Header(), w.Body)
		}
		if !strings.Contains(log.String(), "no space left") {
			t.Errorf("%s: the log says %q", name, log.String())
		}
		log.Reset()
		w = httptest.NewRecorder()
		compat.Fail(w, httptest.NewRequest("POST", "/", nil), write, quiet)
		if w.Code != http.StatusServiceUnavailable || log.Len() > 0 {
			t.Errorf("%s, what can wait: %d, and the log says %q", name, w.Code, log.String())
		}
	}
}

// While the database is away each form of error is a 503 that says when to come again.
func TestAwayIsUnavailable(t *testing.T) {
	for name, write := range map[string]compat.FaultWriter{"compute": compat.ComputeFault, "identity": compat.TitledFault, "networks": compat.NeutronFault, "images": compat.FrameworkFault} {
		for _, err := range []error{
			fmt.Errorf("list: %w", driver.ErrBadConn), context.DeadlineExceeded, schema.ErrUnknownOutcome, compat.Unavailable("later"),
		} {
			w := httptest.NewRecorder()
			compat.Fail(w, httptest.NewRequest("GET", "/x", nil), write, err)
			if w.Code != 503 || w.Header().Get("Retry-After") == "" || strings.Contains(w.Body.String(), "bad connection") {
				t.Errorf("%s: %v is %d %v %s", name, err, w.Code, w.Header(), w.Body)
			}
		}
	}
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	w := httptest.NewRecorder()
	compat.Fail(w, httptest.NewRequest("GET", "/x", nil).WithContext(gone), compat.ComputeFault, driver.ErrBadConn)
	if w.Code != 400 {
		t.Errorf("a client that has gone: %d", w.Code)
	}
}
