package front

import (
	"container/list"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Limits bound what clients hold. Zero takes the default that a field's comment names.
type Limits struct {
	Head    time.Duration // for the head of a request, and for a TLS handshake: 15 s
	Idle    time.Duration // between two requests of a connection: 2 min
	Body    time.Duration // for the whole body of a request that nobody vouches for: 30 s
	Silence time.Duration // without a byte of a body that is vouched for: 1 min
	Answer  time.Duration // without the client taking a byte of an answer: 1 min

	Open             int // connections: half of what the process may open, at most 8192
	Silent           int // waited for and vouched for by nobody: half of Open, at most 1024
	SilentPerAddress int // the same of one address, or IPv6 /64: half of Silent, at most 256

	// Proxies are the addresses of reverse proxies: the client's address is then the last
	// entry of X-Forwarded-For that is none of theirs. From all others, once there is one
	// proxy, X-Forwarded headers are dropped.
	Proxies []netip.Prefix
}

func (l Limits) withDefaults() Limits {
	const header, idle, body, silence, answer = 15 * time.Second, 2 * time.Minute, 30 * time.Second, time.Minute, time.Minute
	setDefault(&l.Head, header)
	setDefault(&l.Idle, idle)
	setDefault(&l.Body, body)
	setDefault(&l.Silence, silence)
	setDefault(&l.Answer, answer)
	const most, mostSilent, mostOfOne = 8192, 1024, 256
	setDefault(&l.Open, min(openFiles()/2, most))
	setDefault(&l.Silent, min(l.Open/2, mostSilent))
	setDefault(&l.SilentPerAddress, min(l.Silent/2, mostOfOne))
	return l
}

func setDefault[T int | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = max(d, 1)
	}
}

// openFiles is how many files and connections the process may have.
func openFiles() int {
	var r syscall.Rlimit
	err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r)
	const usual, large = 1024, 1 << 20
	if err != nil {
		return usual
	}
	return int(min(r.Cur, large))
}

// gate is a listener that counts its connections.
type gate struct {
	net.Listener
	limits Limits

	hidden sync.Once // tells of a proxy that nobody named

	mu      sync.Mutex
	open    int
	silent  list.List                 // of *conn: waited for, nobody vouches; longest first
	of      map[netip.Addr]*list.List // the same by address
	resting list.List                 // of *conn: vouched for, between two requests
}

func newGate(l net.Listener, limits Limits) *gate {
	return &gate{Listener: l, limits: limits, of: map[netip.Addr]*list.List{}}
}

// Accept gives the next connection. When all that may be open are, the one that has been
// waited for longest goes; when none is waited for, the new one does.
func (g *gate) Accept() (net.Conn, error) {
	for {
		raw, err := g.Listener.Accept()
		if err != nil {
			if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
				g.makeRoom() // the server tries again
			}
			return nil, err
		}
		c := &conn{Conn: raw, gate: g, peer: addressOf(raw.RemoteAddr())}
		if !g.admit(c) {
			_ = raw.Close() // nothing was said on it
			continue
		}
		return c, nil
	}
}

func addressOf(a net.Addr) netip.Addr {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// whole is what counts as one client: an IPv6 customer has a /64.
func whole(a netip.Addr) netip.Addr {
	const customer = 64
	if !a.Is6() {
		return a
	}
	p, err := a.WithZone("").Prefix(customer)
	if err != nil {
		return a
	}
	return p.Addr()
}

func (g *gate) isProxy(a netip.Addr) bool {
	return slices.ContainsFunc(g.limits.Proxies, func(p netip.Prefix) bool { return p.Contains(a) })
}

func (g *gate) admit(c *conn) bool {
	g.mu.Lock()
	full := g.open >= g.limits.Open
	g.mu.Unlock()
	if full && !g.makeRoom() {
		return false
	}
	g.mu.Lock()
	g.open++
	g.mu.Unlock()
	c.wait()
	return true
}

// makeRoom ends the connection that has been waited for longest; false when all are worked on.
func (g *gate) makeRoom() bool {
	g.mu.Lock()
	first := g.silent.Front()
	if first == nil {
		first = g.resting.Front()
	}
	g.mu.Unlock()
	if first == nil {
		return false
	}
	_ = first.Value.(*conn).Close() // it is ended, whatever it says
	return true
}

// conn is a connection with what the gate knows of it. The fields below gate are the
// gate's, under its lock.
type conn struct {
	net.Conn
	gate *gate
	peer netip.Addr // the other end

	client  netip.Addr // whom the present request comes from, behind a proxy
	vouched bool
	closed  bool
	place   *list.Element // in gate.silent or gate.resting
	among   *list.Element // in gate.of[counted]
	counted netip.Addr
}

// wait says that the server now waits for the client. It may end another connection.
func (c *conn) wait() {
	g := c.gate
	g.mu.Lock()
	c.leave()
	if c.closed {
		g.mu.Unlock()
		return
	}
	if c.vouched {
		c.place = g.resting.PushBack(c)
		g.mu.Unlock()
		return
	}
	c.place = g.silent.PushBack(c)
	one := c.countAddress()
	var over *conn
	switch {
	case one != nil && one.Len() > g.limits.SilentPerAddress:
		over = one.Front().Value.(*conn)
	case g.silent.Len() > g.limits.Silent:
		over = g.silent.Front().Value.(*conn)
	}
	g.mu.Unlock()
	if over != nil {
		_ = over.Close() // it is ended, whatever it says
	}
}

// countAddress counts the connection for its address and gives all of that address; nil
// for one of a proxy that is between two requests.
func (c *conn) countAddress() *list.List {
	g := c.gate
	at := c.client
	if !at.IsValid() {
		if g.isProxy(c.peer) {
			return nil
		}
		at = c.peer
	}
	c.counted = whole(at)
	one := g.of[c.counted]
	if one == nil {
		one = list.New()
		g.of[c.counted] = one
	}
	c.among = one.PushBack(c)
	return one
}

// leave takes the connection off the lists.
func (c *conn) leave() {
	g := c.gate
	if c.place != nil {
		g.silent.Remove(c.place) // of the two lists only its own heeds it
		g.resting.Remove(c.place)
		c.place = nil
	}
	if c.among != nil {
		one := g.of[c.counted]
		one.Remove(c.among)
		if one.Len() == 0 {
			delete(g.of, c.counted)
		}
		c.among = nil
	}
}

// work says that the server is busy with what the client has sent.
func (c *conn) work() {
	c.gate.mu.Lock()
	c.leave()
	c.gate.mu.Unlock()
}

// begin is work for a new request, which nobody vouches for yet; client is whom it comes
// from, if that is not the other end.
func (c *conn) begin(client netip.Addr) {
	c.gate.mu.Lock()
	c.leave()
	c.client, c.vouched = client, false
	c.gate.mu.Unlock()
}

// vouch says that the present request is somebody's whom a service knows.
func (c *conn) vouch() {
	c.gate.mu.Lock()
	c.vouched = true
	c.gate.mu.Unlock()
}

func (c *conn) isVouched() bool {
	c.gate.mu.Lock()
	defer c.gate.mu.Unlock()
	return c.vouched
}

// Write sends an answer. A client that takes a byte now and then may take long.
func (c *conn) Write(p []byte) (int, error) {
	const piece = 64 << 10
	c.gate.mu.Lock()
	waiting := c.place != nil
	c.gate.mu.Unlock()
	if !waiting {
		c.wait()
		defer c.work()
	}
	sent := 0
	for sent < len(p) {
		err := c.SetWriteDeadline(time.Now().Add(c.gate.limits.Answer))
		if err != nil {
			return sent, err
		}
		n, err := c.Conn.Write(p[sent:min(len(p), sent+piece)])
		sent += n
		if err != nil && (n == 0 || !errors.Is(err, os.ErrDeadlineExceeded)) {
			return sent, err
		}
	}
	return sent, nil
}

// Close ends the connection.
func (c *conn) Close() error {
	g := c.gate
	g.mu.Lock()
	c.leave()
	if !c.closed {
		c.closed = true
		g.open--
	}
	g.mu.Unlock()
	return c.Conn.Close()
}

// CloseWrite lets the server end an answer before the client has sent all of its request.
func (c *conn) CloseWrite() error {
	if t, ok := c.Conn.(*net.TCPConn); ok {
		return t.CloseWrite()
	}
	return nil
}
