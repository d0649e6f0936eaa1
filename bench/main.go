package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const dbVar = "KILONOVA_DB"

func main() {
	binary := flag.String("binary", "bin/kilonova", "the program to measure")
	dsn := os.Getenv(dbVar) // SQLite if empty; it holds a password, and is no argument
	hosts := flag.Int("hosts", 50, "hosts of the simulator under load")
	servers := flag.Int("servers", 1000, "servers that lists hold")
	polls := flag.String("poll-hosts", "1000,10000", "numbers of idle hosts whose polling is measured; none if empty")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, *binary, dsn, *hosts, *servers)
	if err == nil && *polls != "" {
		err = polling(ctx, *binary, dsn, strings.Split(*polls, ","))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func row(what, format string, a ...any) { fmt.Printf("%-46s %s\n", what, fmt.Sprintf(format, a...)) }

func ms(d time.Duration) string {
	return strconv.FormatFloat(float64(d.Microseconds())/1000, 'f', 2, 64) + " ms"
}

// quantile gives the p-th of the times.
func quantile(times []time.Duration, p float64) time.Duration {
	s := slices.Sorted(slices.Values(times))
	return s[min(len(s)-1, int(math.Ceil(p*float64(len(s))))-1)]
}

func spread(times []time.Duration) string {
	return fmt.Sprintf("p50 %s   p99 %s", ms(quantile(times, 0.5)), ms(quantile(times, 0.99)))
}

func run(ctx context.Context, binary, dsn string, hosts, servers int) error {
	kind := "SQLite"
	if dsn != "" {
		kind = "MariaDB"
	}
	fmt.Printf("\nkilonova up, simulator, %s\n", kind)
	p, err := start(ctx, binary, dsn, hosts)
	if err != nil {
		return err
	}
	defer p.stop()
	row("cold start to ready (first start)", "%s", ms(p.ready))
	c, err := newClient(ctx, p.base, p.dir)
	if err != nil {
		return err
	}
	image, flavor, err := c.prepare(ctx)
	if err != nil {
		return err
	}
	for _, part := range []func(context.Context, *process, *client, string, string, int) error{tokens, creates, lists} {
		err := part(ctx, p, c, image, flavor, servers)
		if err != nil {
			return err
		}
	}
	return restart(ctx, p)
}

func tokens(ctx context.Context, _ *process, c *client, _, _ string, _ int) error {
	const n = 20
	times, err := many(n, 1, func(int) error { return c.login(ctx) })
	if err != nil {
		return err
	}
	row("token issue (password, bcrypt included)", "%s", spread(times))
	const checks = 2000
	times, err = many(checks, 1, func(int) error {
		_, err := c.call(ctx, "GET", "/v2.1/flavors/42", "", nil, 200)
		return err
	})
	row("show a flavor (token check and HTTP included)", "%s", spread(times))
	return err
}

func creates(ctx context.Context, _ *process, c *client, image, flavor string, _ int) error {
	const n = 100
	accepted := make([]time.Duration, n)
	times, err := many(n, 1, func(i int) error {
		start := time.Now()
		id, err := c.create(ctx, image, flavor, fmt.Sprintf("one-%d", i), 1)
		accepted[i] = time.Since(start)
		if err != nil {
			return err
		}
		return c.active(ctx, id)
	})
	if err != nil {
		return err
	}
	row("POST /servers to 202", "%s", spread(accepted))
	row("POST /servers to ACTIVE", "%s", spread(times))
	const burst, clients = 200, 8
	start := time.Now()
	times, err = many(burst, clients, func(i int) error {
		_, err := c.create(ctx, image, flavor, fmt.Sprintf("burst-%d", i), 1)
		return err
	})
	if err != nil {
		return err
	}
	err = c.allActive(ctx)
	total := time.Since(start)
	row("200 creates by 8 clients, each to 202", "%s", spread(times))
	row("200 creates by 8 clients, to all ACTIVE", "%s   (%.0f a second)", ms(total), burst/total.Seconds())
	return err
}

func lists(ctx context.Context, p *process, c *client, image, flavor string, servers int) error {
	const made, batch = 300, 100
	for i := made; i < servers; i += batch {
		_, err := c.create(ctx, image, flavor, fmt.Sprintf("fill-%d", i), min(batch, servers-i))
		if err != nil {
			return err
		}
	}
	err := c.allActive(ctx)
	if err != nil {
		return err
	}
	raw, err := c.call(ctx, "GET", "/v2.1/servers/detail?limit=1", "", nil, 200)
	if err != nil {
		return err
	}
	id := strings.SplitN(strings.SplitN(string(raw), `"id":"`, 2)[1], `"`, 2)[0]
	get := func(path string) func(int) error {
		return func(int) error {
			_, err := c.call(ctx, "GET", path, "2.96", nil, 200)
			return err
		}
	}
	for _, m := range []struct {
		what, path string
		n, clients int
	}{
		{fmt.Sprintf("detail list of %d, 1 client", servers), "/v2.1/servers/detail?limit=1000", 100, 1},
		{fmt.Sprintf("detail list of %d, 8 clients", servers), "/v2.1/servers/detail?limit=1000", 200, 8},
		{"detail page of 50", "/v2.1/servers/detail?limit=50", 500, 1},
		{"show", "/v2.1/servers/" + id, 2000, 1},
	} {
		times, err := many(m.n, m.clients, get(m.path))
		if err != nil {
			return err
		}
		row(m.what, "%s", spread(times))
	}
	rss, err := p.rss()
	row(fmt.Sprintf("RSS with %d servers", servers), "%.0f MB", rss)
	return err
}

func restart(ctx context.Context, p *process) error {
	p.kill()
	again, err := p.again(ctx)
	if err != nil {
		return err
	}
	defer again.stop()
	row("start to ready (database filled)", "%s", ms(again.ready))
	return nil
}

// polling measures what idle hosts cost.
func polling(ctx context.Context, binary, dsn string, counts []string) error {
	for _, text := range counts {
		n, err := strconv.Atoi(text)
		if err != nil {
			return err
		}
		p, err := start(ctx, binary, dsn, n)
		if err != nil {
			return err
		}
		const settle, window = 5 * time.Second, 10 * time.Second
		time.Sleep(settle)
		before, err := p.cpu()
		if err != nil {
			return err
		}
		time.Sleep(window)
		after, err := p.cpu()
		if err != nil {
			return err
		}
		rss, err := p.rss()
		if err != nil {
			return err
		}
		row(fmt.Sprintf("%d idle hosts polling in one process", n), "%.1f %% of a core   %.0f MB RSS", 100*(after-before)/window.Seconds(), rss)
		p.stop()
	}
	return nil
}

// process is a kilonova that runs.
type process struct {
	cmd       *exec.Cmd
	args      []string
	base, dir string
	ready     time.Duration
	exited    chan struct{}
	logFile   *os.File
	binary    string
	dsn       string
}

func start(ctx context.Context, binary, dsn string, hosts int) (*process, error) {
	dir, err := os.MkdirTemp("", "kilonova-bench-")
	if err != nil {
		return nil, err
	}
	args := []string{"up", "--state-dir", dir, "--listen", "127.0.0.1:0", "--driver", "sim", "--sim-hosts", strconv.Itoa(hosts), "--sim-keep=false", "--log-level", "warn"}
	return launch(ctx, binary, dir, dsn, args)
}

func launch(ctx context.Context, binary, dir, dsn string, args []string) (*process, error) {
	p := &process{cmd: exec.CommandContext(ctx, binary, args...), args: args, dir: dir, dsn: dsn, binary: binary, exited: make(chan struct{})}
	var err error
	p.logFile, err = os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	p.cmd.Stderr = p.logFile
	p.cmd.Env = append(os.Environ(), dbVar+"="+dsn)
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	err = p.cmd.Start()
	if err != nil {
		return nil, err
	}
	sc := bufio.NewScanner(out)
	for sc.Scan() {
		if base, ok := strings.CutPrefix(sc.Text(), "kilonova: ready "); ok {
			p.base, p.ready = base, time.Since(began)
			go func() {
				_ = p.cmd.Wait() // however it ends, it is gone
				close(p.exited)
			}()
			return p, nil
		}
	}
	_ = p.cmd.Wait() // it said nothing; its log does
	said, err := os.ReadFile(filepath.Join(dir, "log"))
	return nil, fmt.Errorf("kilonova did not become ready: %.2000s (%w)", said, err)
}

func (p *process) again(ctx context.Context) (*process, error) {
	return launch(ctx, p.binary, p.dir, p.dsn, p.args)
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended by itself
	<-p.exited
}

func (p *process) stop() {
	p.kill()
	_ = os.RemoveAll(p.dir) // a temporary folder
}

// rss gives the resident memory in MB.
func (p *process) rss() (float64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(raw), "VmRSS:")
	kb, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
	return kb / 1024, err
}

// cpu gives the processor time used so far, in seconds.
func (p *process) cpu() (float64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(raw), ") ")
	f := strings.Fields(rest)
	const utime, stime, hertz = 11, 12, 100
	u, err := strconv.ParseFloat(f[utime], 64)
	if err != nil {
		return 0, err
	}
	s, err := strconv.ParseFloat(f[stime], 64)
	return (u + s) / hertz, err
}
