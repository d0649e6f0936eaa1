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

// TestGuessesStayCounted floods the limiter with other names and other addresses, also with
// secrets that cost nothing to refuse: it neither forgets whom it holds up nor holds up others.
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
		secret := long
		if i%8 == 0 {
			secret = "guess"
		}
		_, a := c.login(fmt.Sprintf("nobody-%d", i), secret, "")
		if a.code != 401 {
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
// while others go on working. How long these wait is told by how many of the flood's guesses
// were checked meanwhile, so that a slow machine measures the same. Afterwards nothing is left.
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
	const flooders, addresses = 300, 5
	until, stop := context.WithCancel(ctx)
	defer stop()
	codes := [600]atomic.Int64{}
	var wg sync.WaitGroup
	for i := range flooders {
		wg.Go(func() {
			for n := 0; until.Err() == nil; n++ {
				// A few addresses, most with very many names: also at the administrator.
				user := fmt.Sprintf("nobody-%d-%d", i, n)
				if i%10 == 0 {
					user = "admin"
				}
				w := loginUntil(until, h, fmt.Sprintf("203.0.113.%d:1", i%addresses), user, "guess")
				if until.Err() == nil {
					codes[w.Code].Add(1)
				} else if w.Code >= 500 {
					t.Errorf("a client that has gone: %d", w.Code)
				}
				time.Sleep(20 * time.Millisecond) // as many clients as there are connections, not one that spins
			}
		})
	}
	for codes[401].Load() == 0 || codes[429].Load() == 0 {
		time.Sleep(time.Millisecond) // until all places are taken
	}
	checked := map[string][]int{}
	measure := func(what string, code int, ask func() *httptest.ResponseRecorder) {
		at := codes[401].Load()
		w := ask()
		checked[what] = append(checked[what], int(codes[401].Load()-at))
		if w.Code != code {
			t.Errorf("%s = %d: %s", what, w.Code, w.Body)
		}
	}
	withToken := func(method, path, body string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.Header.Set("X-Auth-Token", token)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	for i := range 40 {
		measure("token", 200, func() *httptest.ResponseRecorder { return withToken("GET", "/v3/users", "") })
		measure("login again", 201, func() *httptest.ResponseRecorder { return loginAt(h, "192.0.2.1:1", "admin", adminPassword) })
		if i%10 == 5 {
			name := fmt.Sprintf("new-%d", i)
			measure("new user", 201, func() *httptest.ResponseRecorder {
				return withToken("POST", "/v3/users", `{"user":{"name":"`+name+`","password":"pw"}}`)
			})
			measure("first login", 201, func() *httptest.ResponseRecorder { return loginAt(h, "198.51.100.7:1", name, "pw") })
		}
	}
	stop()
	wg.Wait()
	// What needs no checking waits for none, what does for one of each address and those under
	// way; twice that where the machine is slow to let the answer through.
	places := max(1, runtime.GOMAXPROCS(0)/2)
	for what, limit := range map[string]int{"token": 1, "login again": 1, "new user": 2 * places, "first login": 2 * (addresses + 2*places)} {
		slices.Sort(checked[what])
		median := checked[what][len(checked[what])/2]
		t.Logf("%s: %d times, while so many guesses were checked: %v", what, len(checked[what]), checked[what])
		if median > limit {
			t.Errorf("%s waited for %d guesses", what, median)
		}
	}
	t.Logf("the flood: %d were looked at, %d told to come back", codes[401].Load(), codes[429].Load())
	for code := range codes {
		if n := codes[code].Load(); n > 0 && code != 401 && code != 429 {
			t.Errorf("%d answers of %d", n, code)
		}
	}
	if w := loginAt(h, "198.51.100.8:1", "new-5", "pw"); w.Code != 201 {
		t.Errorf("a login after the flood = %d", w.Code)
	}
	for range 1000 {
		if runtime.NumGoroutine() <= before+20 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d goroutines before, %d after", before, runtime.NumGoroutine())
}
