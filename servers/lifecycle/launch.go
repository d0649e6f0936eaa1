package lifecycle

import (
	"context"
	"crypto/rand"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"kilonova/compat"
	"kilonova/hosts"
	"kilonova/networks"
	"kilonova/quotas"
	"kilonova/scheduler"
	"kilonova/schema"
	"kilonova/work"
)

// Launch is a create request that has been found good: what all of its servers share, where
// they may go, and how many there may be.
type Launch struct {
	Caller    *compat.Caller
	Template  *Server
	Nets      *networks.Plan
	Spec      scheduler.Spec // of its hosts; what the servers need and the hints mean is filled in
	Same      []string       // servers of the hint same_host
	Different []string       // and of different_host
	Min, Max  int
	Tags      []string
	AdminPass string
}

// rootDevice is how guests call their first disk.
const rootDevice = "/dev/vda"

// begin fills in how a server begins.
func (p *Launch) begin(now schema.Micros) {
	task, root := Scheduling, rootDevice
	v := p.Template
	v.VMState, v.TaskState, v.Generation, v.RootDeviceName = Building, &task, 1, &root
	v.ReservationID = "r-" + randomText(8, "abcdefghijklmnopqrstuvwxyz0123456789")
	v.Placement, v.CreatedAt, v.UpdatedAt = placementOf(p), now, now
	p.Spec.Need = needOf(v.Flavor())
}

// Launch makes the servers of a request and gives the first: quota, rows, capacity, ports,
// records and work, in one transaction, or in one for each piece of a batch when they are
// many. A server for which no host has room is made too, in ERROR.
func (s *Service) Launch(ctx context.Context, p *Launch) (*Server, error) {
	all, err := s.Hosts.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	template := p.Template
	p.begin(s.Clock.Now())
	err = s.hint(ctx, s.DB, template.ProjectID, p.Same, p.Different, &p.Spec)
	if err != nil {
		return nil, err
	}
	s.namesFor(ctx, s.DB, template) // they are remembered, so that the transaction need not read them
	delta := quotas.Delta{Instances: 1, Cores: template.VCPUs, RAM: template.MemoryMB}
	var made []*Server
	var many *batch
	err = s.DB.Tx(ctx, func(tx *schema.Tx) error {
		made, many = nil, nil
		n, err := s.Quotas.Fit(ctx, tx, p.Caller.ProjectID, delta, p.Min, p.Max)
		if err != nil {
			return err
		}
		err = s.Quotas.Take(ctx, tx, p.Caller.ProjectID, p.Caller.UserID, times(delta, n))
		if err != nil {
			return err
		}
		if n > PieceSize {
			many, err = s.openBatch(ctx, tx, template, n)
			return err
		}
		for i := range n {
			v := template.numbered(i, n)
			err := s.launchOne(ctx, tx, p, v, all)
			if err != nil {
				return err
			}
			made = append(made, v)
		}
		return nil
	})
	err = s.DB.Settled(ctx, err, func(ctx context.Context) (bool, error) {
		if many != nil {
			return s.exists(ctx, `SELECT COUNT(*) FROM server_batches WHERE reservation_id = ?`, many.ReservationID)
		}
		return s.exists(ctx, `SELECT COUNT(*) FROM servers WHERE uuid = ?`, made[0].UUID)
	})
	if err != nil {
		return nil, err
	}
	if many != nil {
		return s.makeBatch(ctx, p, template, many)
	}
	s.ringFor(made)
	return made[0], nil
}

// exists reports whether a count is not 0.
func (s *Service) exists(ctx context.Context, query string, args ...any) (bool, error) {
	var n int
	err := s.DB.GetContext(ctx, &n, query, args...)
	return n > 0, err
}

// acted looks for the record of an operation that this very request made.
func (s *Service) acted(v *Server, t transition) func(context.Context) (bool, error) {
	return func(ctx context.Context) (bool, error) {
		return s.exists(ctx, `SELECT COUNT(*) FROM instance_actions WHERE server_uuid = ? AND request_id = ? AND action = ?`, v.UUID, compat.RequestID(ctx), t.Action)
	}
}

// ringFor tells the hosts of new servers that there is work.
func (s *Service) ringFor(made []*Server) {
	for i, v := range made {
		if v.Host == nil || i > 0 && made[i-1].HostName() == *v.Host {
			continue
		}
		s.Bell.Ring(*v.Host)
	}
}

func times(d quotas.Delta, n int) quotas.Delta {
	return quotas.Delta{Instances: d.Instances * n, Cores: d.Cores * n, RAM: d.RAM * n}
}

func (s *Service) launchOne(ctx context.Context, tx *schema.Tx, p *Launch, v *Server, all []hosts.Host) error {
	err := s.place(ctx, tx, v, &p.Spec, all)
	if err != nil {
		return err
	}
	err = Insert(ctx, tx, v)
	if err != nil {
		return err
	}
	err = setTags(ctx, tx, v.ID, p.Tags)
	if err != nil {
		return err
	}
	actionID, err := s.record(ctx, tx, v, p.Caller, transitions[OpCreate])
	if err != nil {
		return err
	}
	if v.Host == nil {
		return s.endAction(ctx, tx, actionID, false, "NoValidHost", noValidHost)
	}
	_, err = s.Networks.Allocate(ctx, tx, p.Nets, networks.Device{
		ServerID: v.UUID, ProjectID: v.ProjectID, Host: *v.Host, AZ: *v.Zone})
	if err != nil {
		return err
	}
	g, err := s.guest(ctx, tx, v)
	if err != nil {
		return err
	}
	s.withSource(g)
	g.AdminPass = p.AdminPass
	_, err = s.queue(ctx, tx, v, OpCreate, work.Spawn, work.Args{Guest: *g, PowerOn: true}, actionID)
	return err
}

// place claims room on the best host that has it. Without one the server goes to ERROR
// with the fault that clients read.
func (s *Service) place(ctx context.Context, tx *schema.Tx, v *Server, spec *scheduler.Spec, all []hosts.Host) error {
	for _, h := range scheduler.Order(all, spec, s.Clock.Now()) {
		ok, err := s.Hosts.Claim(ctx, tx, v.UUID, h.Name, hosts.ForServer, spec.Need)
		if err != nil {
			return err
		}
		if ok {
			name, node, zone := h.Name, h.Node, h.Zone
			v.Host, v.Node, v.Zone = &name, &node, &zone
			v.Attempts++
			return nil
		}
	}
	v.Host, v.Node, v.Zone = nil, nil, nil
	v.VMState, v.TaskState = ErrorVM, nil
	message := noValidHost
	details := fmt.Sprintf("None of the %d compute hosts on record has room for %d vcpus, %d MiB of memory and %d GiB of disk, and passes the filters.",
		len(all), v.VCPUs, v.MemoryMB, v.RootGB+v.EphemeralGB)
	v.FaultCode, v.FaultMessage, v.FaultDetails, v.FaultAt = internalError, &message, &details, s.Clock.Now()
	return nil
}

const noValidHost = "No valid host was found. There are not enough hosts available."

// numbered gives the i-th of the count servers that are made its own identity. A name of
// which no host name can be made gives none with a number either, as in Nova.
func (v *Server) numbered(i, count int) *Server {
	n := *v
	n.UUID = uuid.NewString()
	n.LaunchIndex = i
	if n.Hostname == "" {
		n.Hostname = hostnameOf(v.Name, n.UUID)
	}
	if count == 1 {
		return &n
	}
	n.Name = v.Name + "-" + strconv.Itoa(i+1)
	if v.Hostname == "" && n.Hostname != namelessHost(n.UUID) {
		n.Hostname += "-" + strconv.Itoa(i+1)
	}
	return &n
}

// namelessHost is the host name of a server whose name has no letter for one.
func namelessHost(id string) string { return "Server-" + id }

var (
	hostnameSpaces = regexp.MustCompile(`[ _.]`)
	// hostnameBad is what is no letter, digit, dot or dash of Latin-1: letters are more than
	// ASCII's, and the likes of ² and ¼ count as digits.
	hostnameBad = regexp.MustCompile(`[^0-9A-Za-zªµºÀ-ÖØ-öø-ÿ²³¹¼½¾.-]`)
)

// hostnameOf makes a host name of a server's name, as Nova does: letters beyond Latin-1 are
// dropped before it is cut to 63 characters, all others that a name may not have after.
func hostnameOf(name, id string) string {
	const longest, lastLatin1 = 63, 0xff
	latin := make([]rune, 0, longest)
	for _, c := range name {
		if c <= lastLatin1 && len(latin) < longest {
			latin = append(latin, c)
		}
	}
	h := hostnameSpaces.ReplaceAllString(string(latin), "-")
	h = strings.Trim(strings.ToLower(hostnameBad.ReplaceAllString(h, "")), ".-")
	if h == "" {
		return namelessHost(id)
	}
	return h
}

// NewPassword is an administrator's password as Nova makes them: 12 characters that cannot
// be taken for one another.
func NewPassword() string {
	return randomText(12, "23456789abcdefghjkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ")
}

func randomText(n int, alphabet string) string {
	out := make([]byte, n)
	raw := make([]byte, 4*n)
	_, _ = rand.Read(raw) // it never fails: the runtime stops the process first
	for i := range out {
		v := uint32(raw[4*i])<<24 | uint32(raw[4*i+1])<<16 | uint32(raw[4*i+2])<<8 | uint32(raw[4*i+3])
		out[i] = alphabet[int(v%uint32(len(alphabet)))]
	}
	return string(out)
}

// OrEmpty gives a map that is {} in JSON, never null.
func OrEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}
