package fault

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"kilonova/work"
)

// How long creates on other hosts may take while one host is hostile. The short run shares
// the machine with other tests, so that it only notices what is stuck.
const (
	hostileP99      = time.Second
	hostileP99Short = 5 * time.Second
	thieves         = 24 // they want more sessions than the account may have
)

// TestHostileHost: a stolen account of one host does all that it can think of at once, and
// servers are made on the other host as if nothing were.
func TestHostileHost(t *testing.T) {
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	for _, need := range []string{"mariadbd", "mariadb-install-db"} {
		_, err := exec.LookPath(need)
		if err != nil {
			t.Skipf("no MariaDB to be hostile to: %s is not installed (make test installs it)", need)
		}
	}
	dir, listen := t.TempDir(), freeAddress(t)
	db, dsn := mariaDB(t, dir)
	api := &part{name: "api", ready: "kilonova: ready", log: filepath.Join(dir, "api.log"), make: func() *exec.Cmd {
		return exec.Command(bin, "api", "--state-dir", filepath.Join(dir, "api"), "--listen", listen, "--db", dsn, "--log-level", "warn")
	}}
	db.start(t)
	waitDB(t, bin, dsn)
	sc := &scenario{base: "http://" + listen, state: filepath.Join(dir, "api"), dsn: dsn, parts: []*part{db, api}}
	account := map[string]string{}
	for _, host := range []string{"good", "bad"} {
		account[host] = addHost(t, bin, dsn, host)
		sc.parts = append(sc.parts, &part{name: host, ready: "kilonova: computed ready", log: filepath.Join(dir, host+".log"), make: func() *exec.Cmd {
			return exec.Command(bin, "computed", "--state-dir", filepath.Join(dir, host), "--host", host, "--db", account[host], "--driver", "sim", "--log-level", "warn")
		}})
	}
	sc.start(t)
	s := sc.session(t)
	image := prepare(t, s, s.login(t))
	for i := range 6 { // the thief has servers of its own to lie about
		s.make(t, image, fmt.Sprintf("bad-%d", i), "bad")
	}
	sc.parts[3].kill()

	calm := s.measure(t, image, "calm", seconds(t)/2)
	ctx, stop := context.WithCancel(context.Background())
	var gang sync.WaitGroup
	th := &thief{dsn: account["bad"], did: make([]atomic.Int64, len(crimes))}
	for range thieves {
		gang.Add(1)
		go func() {
			defer gang.Done()
			th.run(ctx)
		}()
	}
	raided := s.measure(t, image, "raided", seconds(t))
	stop()
	gang.Wait()
	t.Logf("calm:    %s", calm)
	t.Logf("hostile: %s", raided)
	t.Logf("the thief did %s", th)
	log, err := os.ReadFile(api.log)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the API ended sessions %d times", strings.Count(string(log), "ended database sessions"))
	most := hostileP99
	if os.Getenv("KILONOVA_FAULT_SECONDS") == "" {
		most = hostileP99Short
	}
	if p := raided.create.at(99); p > most {
		t.Errorf("creates on the other host took %v at p99, want at most %v", p, most)
	}
	if raided.stuck > 0 || raided.broken > 0 {
		t.Errorf("%d servers did not come up, %d requests failed: %v", raided.stuck, raided.broken, raided.err)
	}
	sc.parts[3].start(t) // the host is its owner's again
	sc.settled(t, s)
	sc.addsUp(t, bin)
}

// make makes a server on a host and waits until it runs.
func (s *session) make(t *testing.T, image, name, host string) {
	t.Helper()
	raw := s.must(t, "POST", "/v2.1/servers", "2.37", serverOn(image, name, host), 202)
	var doc struct{ Server struct{ ID string } }
	err := json.Unmarshal(raw, &doc)
	if err != nil {
		t.Fatal(err)
	}
	if !s.comesUp(doc.Server.ID) {
		t.Fatalf("server %s does not come up on host %s", name, host)
	}
}

func serverOn(image, name, host string) string {
	return fmt.Sprintf(`{"server":{"name":%q,"imageRef":%q,"flavorRef":"42","networks":"none","availability_zone":"nova:%s"}}`, name, image, host)
}

// comesUp waits for a server to be ACTIVE.
func (s *session) comesUp(id string) bool {
	for range 600 {
		code, raw, err := s.call("GET", "/v2.1/servers/"+id, "", nil)
		if err == nil && code == 200 && strings.Contains(string(raw), `"status":"ACTIVE"`) || strings.Contains(string(raw), `"status": "ACTIVE"`) {
			return true
		}
		time.Sleep(50 * time.Millisecond)
	}
	return false
}

// times are how long something took, each time.
type times []time.Duration

func (l times) at(percent int) time.Duration {
	if len(l) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(l))
	return sorted[min(len(sorted)-1, len(sorted)*percent/100)]
}

func (l times) String() string {
	ms := func(d time.Duration) string { return fmt.Sprintf("%.0f", d.Seconds()*1000) }
	return fmt.Sprintf("%d, p50 %s p99 %s longest %s ms", len(l), ms(l.at(50)), ms(l.at(99)), ms(l.at(100)))
}

// figures are what clients saw.
type figures struct {
	create, list, up times
	stuck, broken    int
	err              error
}

func (f *figures) String() string {
	return fmt.Sprintf("creates %v; lists %v; until they ran %v; %d stuck, %d broken", f.create, f.list, f.up, f.stuck, f.broken)
}

// measure lets clients make, list and delete servers on the good host.
func (s *session) measure(t *testing.T, image, name string, during time.Duration) *figures {
	t.Helper()
	const clients = 8
	f := &figures{}
	var mu sync.Mutex
	var all sync.WaitGroup
	end := time.Now().Add(during)
	fail := func(what string, code int, raw []byte, err error) {
		mu.Lock()
		defer mu.Unlock()
		f.broken++
		f.err = fmt.Errorf("%s: %d %.200s, %w", what, code, raw, err)
	}
	for n := range clients {
		all.Add(1)
		go func() {
			defer all.Done()
			for i := 0; time.Now().Before(end); i++ {
				began := time.Now()
				code, raw, err := s.call("POST", "/v2.1/servers", "2.37", serverOn(image, fmt.Sprintf("%s-%d-%d", name, n, i), "good"))
				created := time.Now()
				var doc struct{ Server struct{ ID string } }
				if err == nil && code == 202 {
					err = json.Unmarshal(raw, &doc)
				}
				if err != nil || code != 202 {
					fail("create", code, raw, err)
					continue
				}
				lists := time.Now()
				code, raw, err = s.call("GET", "/v2.1/servers/detail", "", nil)
				listed := time.Now()
				if err != nil || code != 200 {
					fail("list", code, raw, err)
				}
				up := s.comesUp(doc.Server.ID)
				mu.Lock()
				f.create, f.list = append(f.create, created.Sub(began)), append(f.list, listed.Sub(lists))
				if up {
					f.up = append(f.up, time.Since(began))
				} else {
					f.stuck++
				}
				mu.Unlock()
				code, raw, err = s.call("DELETE", "/v2.1/servers/"+doc.Server.ID, "", nil)
				if err != nil || code != 204 {
					fail("delete", code, raw, err)
				}
			}
		}()
	}
	all.Wait()
	return f
}

// thief has a host's account and means harm.
type thief struct {
	dsn string
	did []atomic.Int64 // by crime
}

func (th *thief) String() string {
	var out []string
	for i, c := range crimes {
		out = append(out, fmt.Sprintf("%s %d", c.name, th.did[i].Load()))
	}
	return strings.Join(out, ", ")
}

// run commits one crime after the other, each in a session of its own as far as there is one.
func (th *thief) run(ctx context.Context) {
	for ctx.Err() == nil {
		i := rand.IntN(len(crimes))
		turn, done := context.WithTimeout(ctx, time.Duration(1+rand.IntN(5))*time.Second)
		err := th.commit(turn, &crimes[i])
		done()
		if err == nil {
			th.did[i].Add(1)
		} else {
			time.Sleep(time.Millisecond)
		}
	}
}

func (th *thief) commit(ctx context.Context, c *crime) error {
	cfg, err := mysql.ParseDSN(th.dsn)
	if err != nil {
		return err
	}
	cfg.Logger = &mysql.NopLogger{}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	if c.raw != nil {
		return c.raw(ctx, db, cfg)
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, st := range []string{"SET SESSION innodb_lock_wait_timeout = 1000000, lock_wait_timeout = 1000000, wait_timeout = 1000000, net_write_timeout = 1000000, max_statement_time = 0",
		"SET SESSION tmp_table_size = 1000000000, max_heap_table_size = 1000000000, sort_buffer_size = 1000000000, max_recursive_iterations = 4294967295"} {
		_, _ = conn.ExecContext(ctx, st) // one that is refused is one crime less
	}
	for n := 0; ctx.Err() == nil; n++ {
		stmts := c.statements
		if c.each != nil {
			stmts = c.each(n)
		}
		for _, st := range stmts {
			_, err := conn.ExecContext(ctx, st)
			if errors.Is(err, mysql.ErrInvalidConn) || errors.Is(err, sql.ErrConnDone) {
				return nil // it was ended
			}
		}
		if c.once {
			<-ctx.Done()
		}
	}
	return nil
}

// crime is one thing to do again and again until the time is over.
type crime struct {
	name       string
	statements []string
	each       func(n int) []string // instead: the statements of the nth time
	once       bool                 // and then to sit there
	raw        func(ctx context.Context, db *sql.DB, cfg *mysql.Config) error
}

var crimes = []crime{
	{name: "burn", statements: []string{"SELECT BENCHMARK(1000000000000, SHA2('x', 512))"}},
	{name: "sleep", statements: []string{"SELECT SLEEP(1000)"}},
	{name: "burn briefly", statements: []string{"SELECT BENCHMARK(300000, SHA2('x', 512))"}},
	{name: "loop", statements: []string{"BEGIN NOT ATOMIC WHILE 1 DO DO SHA2('x', 512); END WHILE; END"}},
	{name: "recurse", statements: []string{"WITH RECURSIVE t AS (SELECT 1 AS n, CAST('' AS CHAR(4000)) AS x UNION ALL SELECT n + 1, REPEAT('x', 4000) FROM t) SELECT COUNT(*), MAX(x) FROM t"}},
	{name: "fill memory", each: func(n int) []string { return []string{fmt.Sprintf("SET @a%d = REPEAT('x', 10000000)", n)} }},
	{name: "sort", statements: []string{"SELECT * FROM information_schema.collations a, information_schema.collations b, information_schema.character_sets c ORDER BY a.id, b.id LIMIT 10"}},
	{name: "match", statements: []string{"SELECT REPEAT('a', 40) REGEXP '^(a+)+b$', REPEAT('ab', 100000) REGEXP '(.*)*c'"}},
	{name: "deep JSON", statements: []string{"SELECT JSON_DETAILED(CONCAT(REPEAT('[', 30000), REPEAT(']', 30000))), JSON_EXTRACT(CONCAT(REPEAT('{\"a\":', 30000), '1', REPEAT('}', 30000)), '$**.a')"}},
	{name: "keep a picture", once: true, statements: []string{"START TRANSACTION WITH CONSISTENT SNAPSHOT"}},
	{name: "keep a transaction", once: true, statements: []string{"SET autocommit = 0", "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE", "BEGIN", "CALL kn_queue()", "CALL kn_servers()", "CALL kn_task('spawning', 'x', 1)"}},
	{name: "lock names", each: func(n int) []string {
		return []string{fmt.Sprintf("SELECT GET_LOCK('kilonova_migrations', 10), GET_LOCK('goose', 0), GET_LOCK('x%d', 0)", n)}
	}},
	{name: "prepare", each: func(n int) []string { return []string{fmt.Sprintf("PREPARE s%d FROM 'SELECT ?'", n)} }},
	{name: "distribute", each: func(n int) []string {
		id := fmt.Sprintf("'%d-%d'", n, rand.Int64())
		return []string{"XA START " + id, "XA END " + id, "XA PREPARE " + id, "XA COMMIT " + id}
	}},
	{name: "begin and end", statements: []string{"BEGIN", "SAVEPOINT a", "ROLLBACK TO a", "COMMIT"}},
	{name: "beat", each: func(n int) []string {
		return []string{fmt.Sprintf("CALL kn_start('thief/%d', 'thief/')", n), fmt.Sprintf("CALL kn_beat('good', 'q', 1, '', '', '{}', 65536, 1073741824, 1073741824, 1073741824, '', '192.0.2.1:1', 'thief/%d')", n),
			fmt.Sprintf("CALL kn_ranges('10.%d.0.0/16 192.168.0.0/16', 'thief/%d')", n%256, n)}
	}},
	{name: "look", statements: []string{"CALL kn_queue()", "CALL kn_servers()", "CALL kn_urgent()", "CALL kn_busy()", "CALL kn_daemon()"}},
	{name: "take others' work", each: func(n int) []string {
		var out []string
		for i := range 50 {
			id := 1 + (n*50+i)%2000
			out = append(out, fmt.Sprintf("CALL kn_claim('thief', 1, %d, '')", id), fmt.Sprintf("CALL kn_finish('done', '{}', %d, 'thief')", id), fmt.Sprintf("CALL kn_args(%d)", id))
		}
		return out
	}},
	{name: "lie about power", raw: func(ctx context.Context, db *sql.DB, _ *mysql.Config) error {
		ids, err := ownServers(ctx, db)
		for err == nil && ctx.Err() == nil {
			for _, id := range ids {
				for _, p := range work.PowerStates {
					_, _ = db.ExecContext(ctx, fmt.Sprintf("CALL kn_power(%d, '%s')", p, id)) // what is refused is refused
				}
			}
		}
		return err
	}},
	{name: "report nonsense", each: func(n int) []string {
		results := []string{"'{'", "'{\"power_state\": 99999999999}'", "REPEAT('x', 100000)", "CONCAT('{\"detail\":\"', REPEAT('x', 100000), '\"}')", "REPEAT('[', 100000)"}
		var out []string
		for id := 1; id < 40; id++ {
			out = append(out, fmt.Sprintf("CALL kn_claim('thief', 1, %d, '')", id), fmt.Sprintf("CALL kn_finish('%s', %s, %d, 'thief')", []string{"done", "failed"}[n%2], results[n%len(results)], id))
		}
		return out
	}},
	{name: "send much", statements: []string{"CALL kn_finish('done', '" + strings.Repeat("x", 8<<20) + "', 1, 'thief')"}},
	{name: "receive much and slowly", raw: func(ctx context.Context, db *sql.DB, _ *mysql.Config) error {
		rows, err := db.QueryContext(ctx, "SELECT REPEAT('x', 1000000) FROM information_schema.collations a, information_schema.collations b")
		if err != nil {
			return err
		}
		defer rows.Close()
		rows.Next()
		<-ctx.Done()
		return rows.Err()
	}},
	{name: "read about everything", statements: []string{"SELECT * FROM information_schema.routines", "SELECT * FROM information_schema.parameters", "SELECT * FROM information_schema.tables", "SELECT * FROM information_schema.system_variables", "SHOW GLOBAL STATUS", "SHOW PROCEDURE STATUS"}},
	{name: "connect", raw: func(ctx context.Context, db *sql.DB, _ *mysql.Config) error {
		db.SetMaxIdleConns(0)
		for ctx.Err() == nil {
			_ = db.PingContext(ctx) // it is refused most of the time
		}
		return nil
	}},
	{name: "connect without a name", raw: func(ctx context.Context, _ *sql.DB, cfg *mysql.Config) error {
		for ctx.Err() == nil {
			c, err := net.Dial("tcp", cfg.Addr)
			if err != nil {
				return err
			}
			_, _ = c.Write([]byte{0xff, 0xff, 0xff, 1})
			_ = c.Close()
		}
		return nil
	}},
	{name: "sit there silently", raw: func(ctx context.Context, _ *sql.DB, cfg *mysql.Config) error {
		for range 5 { // few: what anybody on the network may do is for the network to forbid
			c, err := net.Dial("tcp", cfg.Addr)
			if err != nil {
				return err
			}
			defer c.Close()
		}
		<-ctx.Done()
		return nil
	}},
	{name: "give itself away", statements: []string{"GRANT PROXY ON CURRENT_USER TO root@localhost", "FLUSH PRIVILEGES", "SET ROLE NONE"}},
	{name: "end itself", statements: []string{"KILL CONNECTION_ID()"}},
}

func ownServers(ctx context.Context, db *sql.DB) ([]string, error) {
	rows, err := db.QueryContext(ctx, "CALL kn_servers()")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var id string
		var power, task, state sql.NullString
		err := rows.Scan(&id, &power, &task, &state)
		if err != nil {
			return nil, err
		}
		out = append(out, id)
	}
	return out, rows.Err()
}
