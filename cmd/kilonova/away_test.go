package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"kilonova/schema"
	"kilonova/schema/schematest"
)

// wire is a way to a database that can be broken: what it carries goes on to the server,
// unless it is refused, cut off, or answered with an error of the server's.
type wire struct {
	address string // where it listens
	server  string

	mu     sync.Mutex
	refuse bool   // new connections end at once
	cut    bool   // a statement ends its connection
	lose   bool   // a commit reaches the server, and its answer nobody
	greet  uint16 // the error by which the server greets
	say    uint16 // the error by which the server answers each statement
	conns  map[net.Conn]bool
}

func newWire(t *testing.T, server string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{address: l.Addr().String(), server: server, conns: map[net.Conn]bool{}}
	t.Cleanup(func() { l.Close(); w.hangUp() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go w.carry(conn)
		}
	}()
	return w
}

// set breaks the wire anew; what is open ends where it is told.
func (w *wire) set(change func(w *wire), hangUp bool) {
	w.mu.Lock()
	w.refuse, w.cut, w.lose, w.greet, w.say = false, false, false, 0, 0
	change(w)
	w.mu.Unlock()
	if hangUp {
		w.hangUp()
	}
}

func (w *wire) hangUp() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for conn := range w.conns {
		conn.Close()
	}
}

// errorPacket is how MySQL's protocol says number.
func errorPacket(sequence byte, number uint16) []byte {
	body := binary.LittleEndian.AppendUint16([]byte{0xff}, number)
	body = append(body, "#08S01said by a test"...)
	return append([]byte{byte(len(body)), 0, 0, sequence}, body...)
}

func (w *wire) carry(client net.Conn) {
	defer client.Close()
	w.mu.Lock()
	refuse, greet := w.refuse, w.greet
	w.conns[client] = true
	w.mu.Unlock()
	if refuse {
		return
	}
	if greet != 0 {
		_, _ = client.Write(errorPacket(0, greet))
		return
	}
	server, err := net.Dial("tcp", w.server)
	if err != nil {
		return
	}
	defer server.Close()
	go func() { _, _ = io.Copy(client, server); client.Close() }()
	head := make([]byte, 4)
	for {
		_, err := io.ReadFull(client, head)
		if err != nil {
			return
		}
		body := make([]byte, int(head[0])|int(head[1])<<8|int(head[2])<<16)
		_, err = io.ReadFull(client, body)
		if err != nil {
			return
		}
		w.mu.Lock()
		cut, say, lose := w.cut, w.say, w.lose
		w.mu.Unlock()
		statement := head[3] == 0
		switch {
		case statement && cut:
			return
		case statement && lose && bytes.HasSuffix(body, []byte("COMMIT")):
			client.Close()
			_, _ = server.Write(append(bytes.Clone(head), body...))
			time.Sleep(200 * time.Millisecond) // it commits
			return
		case statement && say != 0:
			_, err = client.Write(errorPacket(1, say))
		default:
			_, err = server.Write(append(bytes.Clone(head), body...))
		}
		if err != nil {
			return
		}
	}
}

// unavailable is how each service words a 503.
var unavailable = map[string]string{
	"compute": "serviceUnavailable", "identity": "error", "networking": "NeutronError",
}

// isUnavailable holds an answer of a service against what clients wait upon.
func isUnavailable(t *testing.T, how, call string, w *httptest.ResponseRecorder) {
	t.Helper()
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("%s: %s = %d %v %.300s", how, call, w.Code, w.Header(), w.Body)
		return
	}
	service := strings.Split(call, "/")[1]
	key, ok := unavailable[service]
	if !ok {
		return // the image API's form follows Accept
	}
	var doc map[string]json.RawMessage
	err := json.Unmarshal(w.Body.Bytes(), &doc)
	if err != nil || doc[key] == nil && doc["error"] == nil { // the token check speaks identity's language everywhere
		t.Errorf("%s: %s is worded %.300s", how, call, w.Body)
	}
}

// TestDatabaseAway: whatever keeps the database from answering, every service says that it
// will be back, from the first request on, and is back with it.
func TestDatabaseAway(t *testing.T) {
	address := schematest.MySQLAddress(t)
	server := regexp.MustCompile(`tcp\(([^)]*)\)`).FindStringSubmatch(address)[1]
	w := newWire(t, server)
	db, err := schema.Open(context.Background(), strings.Replace(address, server, w.address, 1))
	if err == nil {
		t.Cleanup(func() { db.Close() })
		err = db.Migrate(context.Background())
	}
	if err != nil {
		t.Fatal(err)
	}
	c := newTestCloud(t, db)
	image := c.bootable()
	login := `{"auth": {"identity": {"methods": ["password"], "password": {"user": {"name": "admin", "domain": {"id": "default"}, "password": "` + c.password + `"}}}}}`
	calls := []struct{ method, path, body string }{
		{"GET", "/compute/v2.1/servers", ""}, {"GET", "/compute/v2.1/servers/detail", ""}, {"GET", "/compute/v2.1/servers/6c2b27e4-7ba7-4a2e-b1a8-7cdd1f8d9a10", ""},
		{"POST", "/compute/v2.1/servers", `{"server": {"name": "x", "imageRef": "` + image + `", "flavorRef": "42"}}`},
		{"DELETE", "/compute/v2.1/servers/6c2b27e4-7ba7-4a2e-b1a8-7cdd1f8d9a10", ""},
		{"GET", "/compute/v2.1/flavors/detail", ""}, {"POST", "/compute/v2.1/flavors", `{"flavor": {"name": "x", "ram": 1, "vcpus": 1, "disk": 1}}`},
		{"GET", "/compute/v2.1/os-keypairs", ""},
		{"GET", "/image/v2/images", ""}, {"GET", "/image/v2/images/" + image, ""}, {"DELETE", "/image/v2/images/" + image, ""},
		{"GET", "/image/v2/images/" + image + "/file", ""},
		{"POST", "/image/v2/images", `{"name": "x"}`},
		{"GET", "/networking/v2.0/networks", ""}, {"GET", "/networking/v2.0/ports", ""}, {"POST", "/networking/v2.0/networks", `{"network": {"name": "x"}}`},
		{"GET", "/networking/v2.0/security-groups", ""}, {"DELETE", "/networking/v2.0/networks/6c2b27e4-7ba7-4a2e-b1a8-7cdd1f8d9a10", ""},
		{"GET", "/identity/v3/projects", ""}, {"GET", "/identity/v3/users", ""}, {"POST", "/identity/v3/users", `{"user": {"name": "x"}}`},
		{"POST", "/identity/v3/auth/tokens", login}, {"GET", "/identity/v3/projects/" + c.owner, ""},
	}
	try := func(how string) {
		for _, call := range calls {
			isUnavailable(t, how, call.method+" "+call.path, c.do(call.method, call.path, call.body))
		}
		if r := c.do("GET", "/readyz", ""); r.Code != http.StatusServiceUnavailable || r.Header().Get("Retry-After") == "" {
			t.Errorf("%s: /readyz says %d %s", how, r.Code, r.Body)
		}
		if r := c.do("GET", "/healthz", ""); r.Code != http.StatusOK {
			t.Errorf("%s: /healthz says %d", how, r.Code)
		}
	}
	for how, broken := range map[string]struct {
		change func(*wire)
		hangUp bool
	}{
		"nobody is there":          {func(w *wire) { w.refuse = true }, true},
		"too many connections":     {func(w *wire) { w.greet = 1040 }, true},
		"lost in the middle":       {func(w *wire) { w.cut = true }, false},
		"shutting down":            {func(w *wire) { w.say = 1053 }, false},
		"a node that is not ready": {func(w *wire) { w.say = 1047 }, false},
	} {
		w.set(broken.change, broken.hangUp)
		try(how)
	}
	w.set(func(*wire) {}, true)
	if r := c.do("GET", "/readyz", ""); r.Code != http.StatusOK {
		t.Errorf("the database is back, and /readyz says %d %s", r.Code, r.Body)
	}
	for _, call := range calls {
		if r := c.do(call.method, call.path, call.body); r.Code >= 500 {
			t.Errorf("the database is back: %s %s = %d %s", call.method, call.path, r.Code, r.Body)
		}
	}
}

// TestLostAnswerOfACommit: a request whose commit went through is answered so, though the
// connection broke before the database's answer.
func TestLostAnswerOfACommit(t *testing.T) {
	address := schematest.MySQLAddress(t)
	server := regexp.MustCompile(`tcp\(([^)]*)\)`).FindStringSubmatch(address)[1]
	w := newWire(t, server)
	db, err := schema.Open(context.Background(), strings.Replace(address, server, w.address, 1))
	if err == nil {
		t.Cleanup(func() { db.Close() })
		err = db.Migrate(context.Background())
	}
	if err != nil {
		t.Fatal(err)
	}
	c := newTestCloud(t, db)
	create := `{"server": {"name": "x", "imageRef": "` + c.bootable() + `", "flavorRef": "42"}}`
	if first := c.do("POST", "/v2.1/servers", create); first.Code != http.StatusAccepted { // and makes what a project has but once
		t.Fatal(first.Code, first.Body)
	}
	w.set(func(w *wire) { w.lose = true }, false)
	made := c.do("POST", "/v2.1/servers", create)
	var doc struct{ Server struct{ ID string } }
	_ = json.Unmarshal(made.Body.Bytes(), &doc)
	gone := c.do("DELETE", "/v2.1/servers/"+doc.Server.ID, "")
	w.set(func(*wire) {}, true)
	if made.Code != http.StatusAccepted || gone.Code != http.StatusNoContent {
		t.Errorf("a create = %d %.300s; its delete = %d %.300s", made.Code, made.Body, gone.Code, gone.Body)
	}
	var n int
	err = db.Get(&n, "SELECT COUNT(*) FROM servers")
	if err != nil || n != 2 {
		t.Errorf("%d servers, %v", n, err)
	}
}
