package networks

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"kilonova/compat"
	"kilonova/schema"
	"kilonova/schema/schematest"
)

const (
	owner    = "00000000000000000000000000000001"
	projectA = "0000000000000000000000000000000a"
	projectB = "0000000000000000000000000000000b"
)

func memberOf(project string) *compat.Caller {
	return &compat.Caller{UserID: "u-" + project, ProjectID: project, Roles: []string{"member", "reader"}}
}

func adminOf(project string) *compat.Caller {
	return &compat.Caller{UserID: "admin", ProjectID: project, Roles: []string{"admin", "manager", "member", "reader"}}
}

// callers are the tokens of tests.
var callers = map[string]*compat.Caller{
	"a": memberOf(projectA), "b": memberOf(projectB), "admin": adminOf(owner),
	"reader":  {UserID: "r", ProjectID: projectA, Roles: []string{"reader"}},
	"nobody":  {UserID: "n", ProjectID: projectA},
	"service": {UserID: "nova", ProjectID: owner, Roles: []string{"service"}},
}

func fakeAuth(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := callers[r.Header.Get("X-Auth-Token")]
		if c == nil {
			compat.TitledFault(w, r, compat.Unauthorized("The request you have made requires authentication."))
			return
		}
		next.ServeHTTP(w, r.WithContext(compat.WithCaller(r.Context(), c)))
	})
}

func newService(t testing.TB, db *schema.DB, change ...func(*Config)) *Service {
	t.Helper()
	cfg := Config{DB: db, Auth: fakeAuth, Owner: owner, PrivateDNS: []string{"10.77.0.1"}}
	for _, f := range change {
		f(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	err = s.Bootstrap(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func auto() Requested { return Requested{Mode: ModeAuto} }

// boot plans and allocates for one server of a project and gives its ports.
func boot(t testing.TB, s *Service, c *compat.Caller, req Requested, groups ...string) (string, []Port) {
	t.Helper()
	id := uuid.NewString()
	ports, err := tryBoot(s, c, req, id, groups...)
	if err != nil {
		t.Fatal(err)
	}
	return id, ports
}

func tryBoot(s *Service, c *compat.Caller, req Requested, id string, groups ...string) ([]Port, error) {
	ctx := context.Background()
	p, err := s.Plan(ctx, c, req, groups, 1)
	if err != nil {
		return nil, err
	}
	var ports []Port
	err = s.db.Tx(ctx, func(tx *schema.Tx) error {
		var err error
		ports, err = s.Allocate(ctx, tx, p, Device{ServerID: id, ProjectID: c.ProjectID, AZ: "nova"})
		return err
	})
	return ports, err
}

func inTx(t testing.TB, s *Service, fn func(tx *schema.Tx) error) {
	t.Helper()
	err := s.db.Tx(context.Background(), fn)
	if err != nil {
		t.Fatal(err)
	}
}

func TestBootstrapTwice(t *testing.T) {
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		s := newService(t, db)
		for range 3 {
			err := s.Bootstrap(context.Background())
			if err != nil {
				t.Fatal(err)
			}
		}
		var n, m int
		_ = db.Get(&n, "SELECT COUNT(*) FROM networks")
		_ = db.Get(&m, "SELECT COUNT(*) FROM subnets")
		if n != 1 || m != 1 {
			t.Errorf("%d networks and %d subnets, want one each", n, m)
		}
	})
}

func TestServerLife(t *testing.T) {
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		s := newService(t, db, func(c *Config) { c.Outbound = "nat" })
		ctx := context.Background()
		id, ports := boot(t, s, memberOf(projectA), auto())
		if len(ports) != 1 || len(ports[0].FixedIPs) != 1 || ports[0].FixedIPs[0].Address != "10.77.0.2" {
			t.Fatalf("ports %+v", ports)
		}
		g := ports[0].Guest()
		if g.Network.Outbound != "nat" || len(g.Network.Subnets) != 1 || g.Network.Subnets[0].Gateway != "10.77.0.1" ||
			len(g.Network.Bridge) != 13 || !strings.HasPrefix(g.MAC, "fa:16:3e:") || g.Network.MTU != 1500 {
			t.Errorf("guest port %+v", g)
		}
		byServer, err := s.OfServers(ctx, db, []string{id, uuid.NewString()})
		if err != nil || len(byServer) != 1 {
			t.Fatalf("ports of servers %+v, %v", byServer, err)
		}
		p := byServer[id][0]
		if p.NetworkName != "private" || p.FixedIPs[0].Address != "10.77.0.2" || p.Status != "DOWN" || !p.Created ||
			len(p.SecurityGroups) != 1 || p.SecurityGroups[0].Name != "default" {
			t.Errorf("port %+v", p)
		}
		guest, err := s.GuestPorts(ctx, db, id)
		if err != nil || len(guest) != 1 || fmt.Sprint(guest[0]) != fmt.Sprint(g) {
			t.Errorf("guest ports %+v, %v; want %+v", guest, err, g)
		}
		err = s.SetActive(ctx, db, id, true)
		if err != nil {
			t.Fatal(err)
		}
		inTx(t, s, func(tx *schema.Tx) error { return s.BindHost(ctx, tx, id, "host1") })
		byServer, _ = s.OfServers(ctx, db, []string{id})
		if byServer[id][0].Status != "ACTIVE" {
			t.Errorf("status %s", byServer[id][0].Status)
		}
		for range 2 {
			inTx(t, s, func(tx *schema.Tx) error { return s.Release(ctx, tx, id) })
		}
		checkCounts(t, db)
		var n int
		_ = db.Get(&n, "SELECT COUNT(*) FROM port_addresses")
		if n != 0 {
			t.Errorf("%d addresses left", n)
		}
	})
}

// checkCounts compares the usage rows with what there is.
func checkCounts(t *testing.T, db *schema.DB) {
	t.Helper()
	for resource, table := range map[string]string{
		resNetwork: "networks", resSubnet: "subnets", resPort: "ports", resSecurityGroup: "security_groups", resSecurityRule: "security_group_rules"} {
		var rows []struct {
			Project string `db:"project_id"`
			Used    int    `db:"used"`
			Real    int    `db:"n"`
		}
		err := db.Select(&rows, `SELECT u.project_id, u.used, (SELECT COUNT(*) FROM `+table+` t WHERE t.project_id = u.project_id) AS n
FROM network_usage u WHERE u.resource = ?`, resource)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rows {
			if r.Used != r.Real {
				t.Errorf("project %s: usage of %s says %d, there are %d", r.Project, resource, r.Used, r.Real)
			}
		}
	}
}

func TestGivenPort(t *testing.T) {
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		s := newService(t, db)
		ctx := context.Background()
		_, ports := boot(t, s, memberOf(projectA), auto())
		_, err := db.Exec("UPDATE ports SET device_id = '', made_for_server = 0 WHERE uuid = ?", ports[0].ID)
		if err != nil {
			t.Fatal(err)
		}
		give := Requested{Mode: ModeList, Nets: []RequestedNet{{PortID: ports[0].ID, Tag: "t"}}}
		p1, err := s.Plan(ctx, memberOf(projectA), give, nil, 1)
		if err != nil {
			t.Fatal(err)
		}
		p2, err := s.Plan(ctx, memberOf(projectA), give, nil, 1)
		if err != nil {
			t.Fatal(err)
		}
		var id = uuid.NewString()
		inTx(t, s, func(tx *schema.Tx) error {
			_, err := s.Allocate(ctx, tx, p1, Device{ServerID: id, ProjectID: projectA})
			return err
		})
		err = db.Tx(ctx, func(tx *schema.Tx) error {
			_, err := s.Allocate(ctx, tx, p2, Device{ServerID: uuid.NewString(), ProjectID: projectA})
			return err
		})
		if !compat.IsConflict(err) || !strings.Contains(err.Error(), "still in use") {
			t.Errorf("second server with one port: %v", err)
		}
		_, err = s.Plan(ctx, memberOf(projectB), give, nil, 1)
		if err == nil || !strings.Contains(err.Error(), "400 Port id "+ports[0].ID+" could not be found.") {
			t.Errorf("another project's port: %v", err)
		}
		inTx(t, s, func(tx *schema.Tx) error { return s.Release(ctx, tx, id) })
		var n int
		_ = db.Get(&n, "SELECT COUNT(*) FROM ports WHERE device_id = '' AND status = 'DOWN'")
		if n != 1 {
			t.Errorf("the given port is gone or still bound")
		}
		checkCounts(t, db)
	})
}

func TestPlanFaults(t *testing.T) {
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		s := newService(t, db, func(c *Config) { c.Quotas, c.Owner = map[string]int{"port": 2}, projectA })
		ctx := context.Background()
		nets, err := s.available(ctx, projectA)
		if err != nil || len(nets) != 1 {
			t.Fatalf("available %v %v", nets, err)
		}
		net := nets[0].ID
		used := Requested{Mode: ModeList, Nets: []RequestedNet{{NetworkID: net, FixedIP: "10.77.0.40"}}}
		_, err = s.Plan(ctx, memberOf(projectB), used, nil, 1)
		if err == nil || !strings.HasPrefix(err.Error(), "403 rule:create_port:fixed_ips:ip_address") {
			t.Errorf("an address on a network that is only shared: %v", err)
		}
		boot(t, s, memberOf(projectA), used)
		unknown := uuid.NewString()
		list := func(n ...RequestedNet) Requested { return Requested{Mode: ModeList, Nets: n} }
		tests := []struct {
			name   string
			req    Requested
			groups []string
			count  int
			want   string
		}{
			{"no network", Requested{Mode: ModeNone}, nil, 1, ""},
			{"address in use", used, nil, 1, "400 Fixed IP address 10.77.0.40 is already in use on instance"},
			{"address outside", list(RequestedNet{NetworkID: net, FixedIP: "10.78.0.4"}), nil, 1, "400 Fixed IP 10.78.0.4 is not a valid ip address for network " + net + "."},
			{"gateway", list(RequestedNet{NetworkID: net, FixedIP: "10.77.0.1"}), nil, 1, "400 Fixed IP 10.77.0.1 is not"},
			{"broadcast", list(RequestedNet{NetworkID: net, FixedIP: "10.77.255.255"}), nil, 1, "400 Fixed IP 10.77.255.255 is not"},
			{"no address", list(RequestedNet{NetworkID: net, FixedIP: "x"}), nil, 1, "400 Invalid fixed IP address (x)"},
			{"address and many", list(RequestedNet{NetworkID: net, FixedIP: "10.77.0.5"}), nil, 2, "400 Failed to launch instances: "},
			{"port and many", list(RequestedNet{PortID: unknown}), nil, 2, "400 Failed to launch instances: "},
			{"port and address", list(RequestedNet{PortID: unknown, FixedIP: "10.77.0.5"}), nil, 1, "400 Specified Fixed IP"},
			{"port twice", list(RequestedNet{PortID: unknown}, RequestedNet{PortID: unknown}), nil, 1, "400 Port " + unknown},
			{"port unknown", list(RequestedNet{PortID: unknown}), nil, 1, "400 Port id " + unknown + " could not be found."},
			{"network unknown", list(RequestedNet{NetworkID: unknown}), nil, 1, "400 Network " + unknown + " could not be found."},
			{"nothing", list(RequestedNet{}), nil, 1, "400 Bad network format: missing 'uuid'"},
			{"no uuid", list(RequestedNet{NetworkID: "x"}), nil, 1, "400 Bad networks format"},
			{"group unknown", auto(), []string{"default", "nope"}, 1, "400 Security group nope not found for project " + projectA + "."},
			{"group unknown, no network", Requested{Mode: ModeNone}, []string{"nope"}, 1, "400 Security group nope not found"},
			{"port quota", list(RequestedNet{NetworkID: net}, RequestedNet{NetworkID: net}), nil, 1, "403 Maximum number of ports exceeded"},
			{"some fit", auto(), nil, 5, ""},
		}
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				p, err := s.Plan(ctx, memberOf(projectA), tt.req, tt.groups, tt.count)
				switch {
				case tt.want == "" && err != nil:
					t.Errorf("refused: %v", err)
				case tt.want != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.want)):
					t.Errorf("got %v, want %s", err, tt.want)
				case tt.name == "some fit" && p.Fits() != 1:
					t.Errorf("fits %d, want 1", p.Fits())
				}
			})
		}
	})
}

// TestAddressesUnderLoad lets many writers fill one subnet, with two services as two
// processes would: no address twice, none lost, all counted.
func TestAddressesUnderLoad(t *testing.T) {
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		quota := func(c *Config) { c.Quotas = map[string]int{"port": -1} }
		services := []*Service{newService(t, db, quota), newService(t, db, quota)}
		const workers, each = 8, 50
		var wg sync.WaitGroup
		errs := make(chan error, workers*each)
		for w := range workers {
			wg.Add(1)
			go func() {
				defer wg.Done()
				c := memberOf([]string{projectA, projectB}[w%2])
				for range each {
					_, err := tryBoot(services[w/4], c, auto(), uuid.NewString())
					if err != nil {
						errs <- err
					}
				}
			}()
		}
		wg.Wait()
		close(errs)
		for err := range errs {
			t.Error(err)
		}
		var addresses []string
		err := db.Select(&addresses, "SELECT address FROM port_addresses")
		if err != nil || len(addresses) != workers*each {
			t.Fatalf("%d addresses, %v", len(addresses), err)
		}
		slices.Sort(addresses)
		if len(slices.Compact(addresses)) != workers*each {
			t.Error("an address was given twice")
		}
		checkCounts(t, db)
	})
}

// TestQuotaUnderLoad asks for more than fits at the same moment: exactly the limit is made.
func TestQuotaUnderLoad(t *testing.T) {
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		const limit = 10
		s := newService(t, db, func(c *Config) { c.Quotas = map[string]int{"port": limit} })
		var wg sync.WaitGroup
		for range 8 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for range 3 {
					_, err := tryBoot(s, memberOf(projectA), auto(), uuid.NewString())
					var want = "403 Maximum number of ports exceeded"
					if err != nil && err.Error() != want {
						t.Errorf("got %v", err)
					}
				}
			}()
		}
		wg.Wait()
		var n int
		_ = db.Get(&n, "SELECT COUNT(*) FROM ports")
		if n != limit {
			t.Errorf("%d ports, want %d", n, limit)
		}
		checkCounts(t, db)
	})
}

func TestServerIDsByAddress(t *testing.T) {
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		s := newService(t, db)
		id1, _ := boot(t, s, memberOf(projectA), auto()) // 10.77.0.2
		id2, _ := boot(t, s, memberOf(projectB), auto()) // 10.77.0.3
		tests := []struct {
			project, pattern string
			version          int
			want             []string
		}{
			{"", "10.77", 4, []string{id1, id2}}, {projectA, "10.77", 4, []string{id1}}, {"", "10.77", 6, nil},
			{"", "^10.77.0.2$", 4, []string{id1}}, {"", "^77", 4, nil}, {"", "0.3", 4, []string{id2}},
			{"", "0.[23]$", 4, []string{id1, id2}}, {"", "%", 4, nil}, {"", "'; DROP TABLE ports; --", 4, nil},
		}
		for _, tt := range tests {
			got, err := s.ServerIDsByAddress(context.Background(), tt.project, tt.pattern, tt.version)
			slices.Sort(got)
			slices.Sort(tt.want)
			if err != nil || !slices.Equal(got, tt.want) {
				t.Errorf("%s %s: %v, %v; want %v", tt.project, tt.pattern, got, err, tt.want)
			}
		}
		_, err := s.ServerIDsByAddress(context.Background(), "", "(", 4)
		if err == nil || !strings.HasPrefix(err.Error(), "400 ") {
			t.Errorf("bad pattern: %v", err)
		}
	})
}

func TestServerSecurityGroups(t *testing.T) {
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		s := newService(t, db)
		ctx := context.Background()
		inTx(t, s, func(tx *schema.Tx) error {
			err := s.takeQuota(ctx, tx, projectA, resSecurityGroup, 1)
			if err != nil {
				return err
			}
			return s.insertGroup(ctx, tx, &Group{ID: uuid.NewString(), ProjectID: projectA, Name: "web", Stateful: true})
		})
		id, _ := boot(t, s, memberOf(projectA), auto())
		steps := []struct {
			add  bool
			name string
			want string
		}{
			{true, "web", ""}, {true, "web", ""}, {true, "nope", "404 Security group nope is not found for project " + projectA},
			{false, "default", ""}, {false, "default", "404 Security group default not associated with the instance " + id},
			{false, "nope", "404 "},
		}
		for _, st := range steps {
			do := s.RemoveSecurityGroup
			if st.add {
				do = s.AddSecurityGroup
			}
			err := db.Tx(ctx, func(tx *schema.Tx) error { return do(ctx, tx, id, projectA, st.name) })
			if (st.want == "") != (err == nil) || (err != nil && !strings.HasPrefix(err.Error(), st.want)) {
				t.Errorf("%+v: %v", st, err)
			}
		}
		got, err := s.SecurityGroupsOf(ctx, db, []string{id})
		if err != nil || len(got[id]) != 1 || got[id][0].Name != "web" {
			t.Errorf("groups %+v, %v", got, err)
		}
		checkCounts(t, db)
	})
}

func TestFullSubnet(t *testing.T) {
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		s := newService(t, db, func(c *Config) { c.PrivateCIDR = "10.9.0.0/28" })
		ids := map[string]string{}
		for range 13 {
			id, ports := boot(t, s, memberOf(projectA), auto())
			ids[ports[0].FixedIPs[0].Address] = id
		}
		_, err := tryBoot(s, memberOf(projectA), auto(), uuid.NewString())
		if err == nil || !strings.HasPrefix(err.Error(), "400 No fixed IP addresses available for network: ") {
			t.Fatalf("full subnet: %v", err)
		}
		inTx(t, s, func(tx *schema.Tx) error { return s.Release(context.Background(), tx, ids["10.9.0.7"]) })
		_, ports := boot(t, s, memberOf(projectA), auto())
		if ports[0].FixedIPs[0].Address != "10.9.0.7" {
			t.Errorf("got %v, want the freed address", ports[0].FixedIPs)
		}
		checkCounts(t, db)
	})
}
