package identity_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kilonova/identity"
	"kilonova/schema/schematest"
)

// TestSpellingsAreOneAccount guesses at one user by everything that names it.
func TestSpellingsAreOneAccount(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		admin := c.admin()
		user, project := c.member(admin, "Renée", "member")
		token, _ := c.login("renée", "pw-Renée", projectScope(project))
		made := c.must(201, "POST", "/v3/users/"+user+"/application_credentials", token, `{"application_credential":{"name":"Robot"}}`)
		cred := made.text("application_credential", "id")
		password := func(who string) string {
			return `{"methods":["password"],"password":{"user":{` + who + `,"password":"wrong"}}}`
		}
		secret := func(who string) string {
			return `{"methods":["application_credential"],"application_credential":{` + who + `,"secret":"wrong"}}`
		}
		const of = `"name":"renée","domain":{"id":"default"}`
		accounts := map[string][]string{
			"user":       {password(of), password(`"name":"RENÉE","domain":{"name":"Default"}`), password(`"name":"renée  ","domain":{"name":"DEFAULT "}`), password(`"id":"` + user + `"`)},
			"nobody":     {password(`"name":"nobody","domain":{"id":"default"}`), password(`"name":"NoBody ","domain":{"name":"default"}`)},
			"credential": {secret(`"id":"` + cred + `"`), secret(`"name":"robot","user":{` + of + `}`), secret(`"name":"ROBOT ","user":{"id":"` + user + `"}`)},
		}
		for name, spellings := range accounts {
			codes := map[int]int{}
			for i := range 30 {
				_, a := c.auth(spellings[i%len(spellings)], "")
				codes[a.code]++
			}
			if codes[401] != 10 || codes[429] != 20 {
				t.Errorf("%s: %v", name, codes)
			}
		}
		// A change of password is a guess as well, at the same account.
		if a := c.do("POST", "/v3/users/"+user+"/password", token, `{"user":{"password":"new","original_password":"wrong"}}`); a.code != 429 {
			t.Errorf("guessing by a change of password = %d", a.code)
		}
		// Other names are other accounts.
		for _, other := range []string{"renee", "rene\u0301e", " renée"} {
			if _, a := c.login(other, "pw-Renée", ""); a.code != 401 {
				t.Errorf("login as %q = %d", other, a.code)
			}
		}
	})
}

// TestGuessesStayCounted floods the limiter with other names, other addresses and secrets
// that cost nothing to refuse.
func TestGuessesStayCounted(t *testing.T) {
	c := newCloud(t, schematest.SQLite(t))
	guess := func() int {
		_, a := c.login("admin", "guess", "")
		return a.code
	}
	for guess() == 401 {
	}
	long := strings.Repeat("x", 5000)
	for i := range 10000 {
		c.address = fmt.Sprintf("198.51.%d.%d:1", i/250%250, i%250)
		_, a := c.login(fmt.Sprintf("nobody-%d", i), long, "")
		if a.code != 401 && i < 5000 {
			t.Fatalf("guess %d = %d", i, a.code)
		}
	}
	c.address = "192.0.2.1:77"
	if code := guess(); code != 429 {
		t.Errorf("a guess after a flood = %d", code)
	}
	c.address = "192.0.2.2:1" // a neighbour
	if _, a := c.login("admin", adminPassword, ""); a.code != 201 {
		t.Errorf("the right password from a neighbour = %d", a.code)
	}
}

// TestGuessesFromEverywhere guesses at one user from more addresses than one host has.
func TestGuessesFromEverywhere(t *testing.T) {
	c := newCloud(t, schematest.SQLite(t))
	c.address = "192.0.2.9:1"
	c.admin()
	codes := map[int]int{}
	for i := range 300 {
		c.address = fmt.Sprintf("[2001:db8:0:%x::1]:1", i)
		_, a := c.login("admin", "guess", "")
		codes[a.code]++
	}
	if codes[401] != 100 {
		t.Errorf("from 300 customers: %v", codes)
	}
	c.address = "192.0.2.9:2"
	if _, a := c.login("admin", adminPassword, ""); a.code != 201 {
		t.Errorf("the right password from where it was used before = %d", a.code)
	}
	codes = map[int]int{}
	for i := range 30 {
		c.address = fmt.Sprintf("[2001:db8:1:1::%x]:1", i)
		_, a := c.login("another", "guess", "")
		codes[a.code]++
	}
	if codes[401] != 10 {
		t.Errorf("from 30 addresses of one customer: %v", codes)
	}
	c.move(-48 * time.Hour) // a clock that is set back locks nobody out
	c.address = "192.0.2.77:1"
	if _, a := c.login("admin", adminPassword, ""); a.code != 201 {
		t.Errorf("after the clock was set back = %d", a.code)
	}
}

// TestGuessesAtOnce sends many at the same time: none is looked at before it is counted.
func TestGuessesAtOnce(t *testing.T) {
	c := newCloud(t, schematest.SQLite(t))
	var wrong atomic.Int64
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			if loginAt(c.s.Handler(), "192.0.2.1:1", "admin", "guess").Code == 401 {
				wrong.Add(1)
			}
		})
	}
	wg.Wait()
	if n := wrong.Load(); n > 10 {
		t.Errorf("%d guesses were looked at", n)
	}
}

func loginAt(h http.Handler, address, user, password string) *httptest.ResponseRecorder {
	return loginUntil(context.Background(), h, address, user, password)
}

func loginUntil(ctx context.Context, h http.Handler, address, user, password string) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(ctx, "POST", "/v3/auth/tokens", strings.NewReader(`{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":`+
		quote(user)+`,"domain":{"id":"default"},"password":`+quote(password)+`}}}}}`))
	r.RemoteAddr = address
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// TestLoginFlood sends logins as fast as it can, at the cost that bcrypt has in production,
// while others go on working. Afterwards nothing is left of it.
func TestLoginFlood(t *testing.T) {
	ctx := context.Background()
	s, err := identity.New(ctx, identity.Config{DB: schematest.SQLite(t), KeyDir: filepath.Join(t.TempDir(), "keys")})
	if err == nil {
		err = s.Bootstrap(ctx, identity.Bootstrap{AdminPassword: adminPassword, Region: "RegionOne"})
	}
	if err != nil {
		t.Fatal(err)
	}
	h := s.Handler()
	loginAt(h, "192.0.2.1:1", "admin", adminPassword)
	scoped := httptest.NewRecorder()
	h.ServeHTTP(scoped, httptest.NewRequest("POST", "/v3/auth/tokens", strings.NewReader(
		`{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":"admin","domain":{"id":"default"},"password":`+quote(adminPassword)+`}}},"scope":`+adminScope+`}}`)))
	token := scoped.Header().Get("X-Subject-Token")
	if scoped.Code != 201 {
		t.Fatalf("login = %d", scoped.Code)
	}
	before := runtime.NumGoroutine()
	const flooders, flood = 300, 3 * time.Second
	end := time.Now().Add(flood)
	until, stop := context.WithDeadline(ctx, end)
	defer stop()
	codes := [600]atomic.Int64{}
	var wg sync.WaitGroup
	for i := range flooders {
		wg.Go(func() {
			for n := 0; time.Now().Before(end); n++ {
				// A few addresses, most with very many names: also at the administrator.
				user := fmt.Sprintf("nobody-%d-%d", i, n)
				if i%10 == 0 {
					user = "admin"
				}
				codes[loginUntil(until, h, fmt.Sprintf("203.0.113.%d:1", i%5), user, "guess").Code].Add(1)
				time.Sleep(5 * time.Millisecond) // as many clients as there are connections, not one that spins
			}
		})
	}
	worst := map[string][]time.Duration{}
	measure := func(what string, code int, ask func() *httptest.ResponseRecorder) {
		at := time.Now()
		w := ask()
		worst[what] = append(worst[what], time.Since(at))
		if w.Code != code {
			t.Errorf("%s = %d: %s", what, w.Code, w.Body)
		}
	}
	for i := 0; time.Now().Before(end); i++ {
		measure("token", 200, func() *httptest.ResponseRecorder {
			r := httptest.NewRequest("GET", "/v3/users", nil)
			r.Header.Set("X-Auth-Token", token)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			return w
		})
		measure("login again", 201, func() *httptest.ResponseRecorder { return loginAt(h, "192.0.2.1:1", "admin", adminPassword) })
		if i == 20 {
			measure("new user", 201, func() *httptest.ResponseRecorder {
				r := httptest.NewRequest("POST", "/v3/users", strings.NewReader(`{"user":{"name":"new","password":"pw"}}`))
				r.Header.Set("X-Auth-Token", token)
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				return w
			})
			measure("first login", 201, func() *httptest.ResponseRecorder { return loginAt(h, "198.51.100.7:1", "new", "pw") })
		}
		time.Sleep(10 * time.Millisecond)
	}
	wg.Wait()
	// Each in the time that a machine under a hundred other tests may take.
	for what, limit := range map[string]time.Duration{"token": 2 * time.Second, "login again": 2 * time.Second, "new user": 5 * time.Second, "first login": 10 * time.Second} {
		slices.Sort(worst[what])
		n := len(worst[what])
		if n == 0 {
			t.Errorf("%s: not once during the flood", what)
			continue
		}
		p99 := worst[what][n*99/100]
		t.Logf("%s: %d times, p50 %v, p99 %v", what, n, worst[what][n/2], p99)
		if p99 > limit {
			t.Errorf("%s: p99 %v during the flood", what, p99)
		}
	}
	t.Logf("the flood: %d were looked at, %d told to come back", codes[401].Load(), codes[429].Load())
	if codes[429].Load() == 0 || codes[401].Load() == 0 {
		t.Errorf("no flood: %d and %d", codes[401].Load(), codes[429].Load())
	}
	for code := range codes {
		// 503: the client had gone before the database was asked.
		if n := codes[code].Load(); n > 0 && code != 401 && code != 429 && (code != 503 || n > flooders) {
			t.Errorf("%d answers of %d", n, code)
		}
	}
	at := time.Now()
	if w := loginAt(h, "198.51.100.8:1", "new", "pw"); w.Code != 201 || time.Since(at) > 2*time.Second {
		t.Errorf("a login after the flood = %d after %v", w.Code, time.Since(at))
	}
	if after := runtime.NumGoroutine(); after > before+20 {
		t.Errorf("%d goroutines before, %d after", before, after)
	}
}
