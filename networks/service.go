package networks

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"net/netip"

	"github.com/google/uuid"
	lru "github.com/hashicorp/golang-lru/v2"

	"kilonova/compat"
	"kilonova/hostnet"
	"kilonova/schema"
	"kilonova/work"
)

// Config is what the service needs. Only DB and Auth have no useful default.
type Config struct {
	DB    *schema.DB
	Clock schema.Clock
	Base  compat.Base
	// Auth is the token check; it puts the Caller into the context.
	Auth func(http.Handler) http.Handler
	// Outbound is "" (guests reach each other and the host) or "nat".
	Outbound string
	// PrivateCIDR is the range of the network that Bootstrap makes; 10.77.0.0/16 if "".
	PrivateCIDR string
	// PrivateDNS are the name servers that guests of that network are told of.
	PrivateDNS []string
	// MTU of new networks; 1500 if 0.
	MTU int
	// Owner is the project that owns the network that Bootstrap makes.
	Owner string
	// Quotas replaces default limits, by resource name; -1 is unlimited.
	Quotas map[string]int
	// TenantRanges are the ranges within which projects may choose their subnets;
	// hostnet.Private if nil.
	TenantRanges []netip.Prefix
	// Reserved gives the ranges that belong to the cloud's own machines; nil for none. It
	// reads what it must through q.
	Reserved func(ctx context.Context, q schema.Querier) ([]netip.Prefix, error)
	// ProjectExists tells whether a project may be given quotas; nil accepts all.
	ProjectExists func(ctx context.Context, id string) (bool, error)
}

// Service is the network service. All its methods may be called at once.
type Service struct {
	db    *schema.DB
	clock schema.Clock
	cfg   Config
	// PortsChanged is told in a transaction that changes what a server's host enforces of its
	// ports: their addresses, pairs and port security, or that one is gone. It gives the host
	// to ring afterwards, "" for none; nil for a cloud without hosts.
	PortsChanged func(ctx context.Context, tx *schema.Tx, serverID string) (host string, err error)
	// Bell rings hosts; nil for none.
	Bell work.Bell

	private  netip.Prefix
	limits   map[string]int
	cursors  *lru.Cache[int64, *cursor] // by the subnet's key
	handler  http.Handler
	newUUID  func() string
	randByte func([]byte)
}

const (
	defaultCIDR = "10.77.0.0/16"
	defaultMTU  = 1500
	minMTU      = 68
	maxMTU      = 65535
	// A subnet's cursor that is forgotten costs one statement to find again.
	maxCursors = 4096
)

// New checks the configuration and makes the service; it does not touch the database.
func New(cfg Config) (*Service, error) {
	if cfg.DB == nil {
		return nil, errors.New("networks: no database")
	}
	if cfg.Outbound != "" && cfg.Outbound != "nat" {
		return nil, fmt.Errorf("networks: outbound is %q, want \"\" or \"nat\"", cfg.Outbound)
	}
	if cfg.PrivateCIDR == "" {
		cfg.PrivateCIDR = defaultCIDR
	}
	private, err := netip.ParsePrefix(cfg.PrivateCIDR)
	if err != nil || private != private.Masked() || !private.Addr().Is4() || private.Bits() > 28 || private.Bits() < 8 {
		return nil, fmt.Errorf("networks: private network %q is not an IPv4 range between /8 and /28", cfg.PrivateCIDR)
	}
	if cfg.TenantRanges == nil {
		cfg.TenantRanges = hostnet.Private()
	}
	if cfg.MTU == 0 {
		cfg.MTU = defaultMTU
	}
	if cfg.MTU < minMTU || cfg.MTU > maxMTU {
		return nil, fmt.Errorf("networks: an MTU of %d is not possible", cfg.MTU)
	}
	cursors, err := lru.New[int64, *cursor](maxCursors)
	if err != nil {
		return nil, fmt.Errorf("networks: %w", err)
	}
	s := &Service{
		db: cfg.DB, clock: cfg.Clock, cfg: cfg, private: private, cursors: cursors,
		limits: map[string]int{}, newUUID: uuid.NewString, randByte: randomBytes,
	}
	for name, n := range defaultQuotas {
		s.limits[name] = n
	}
	for name, n := range cfg.Quotas {
		if _, ok := defaultQuotas[name]; !ok {
			return nil, fmt.Errorf("networks: no resource %q has a quota", name)
		}
		s.limits[name] = n
	}
	s.handler = s.routes()
	return s, nil
}

// Handler serves the network API; the service's mount point is stripped already.
func (s *Service) Handler() http.Handler { return s.handler }

// privateName is the name of the network that every project has from the start.
const privateName = "private"

const networkMadeFor = `SELECT COUNT(*) FROM networks WHERE made_for = ?`

// Bootstrap makes the shared network "private" with its subnet, unless it was made before;
// two processes may call it at once. A network that the operator deleted comes back at the
// next start.
func (s *Service) Bootstrap(ctx context.Context) error {
	var n int
	err := s.db.GetContext(ctx, &n, networkMadeFor, privateName)
	if err != nil {
		return fmt.Errorf("look for the private network: %w", err)
	}
	if n > 0 {
		return nil
	}
	err = s.db.Tx(ctx, func(tx *schema.Tx) error {
		net := &Network{
			ID: s.newUUID(), ProjectID: s.cfg.Owner, Name: privateName, AdminStateUp: true, Shared: true,
			PortSecurity: true, MTU: s.cfg.MTU, Type: "local", MadeFor: sql.NullString{String: privateName, Valid: true},
		}
		err := s.insertNetwork(ctx, tx, net)
		if err != nil {
			return err
		}
		sub := &Subnet{
			ID: s.newUUID(), ProjectID: s.cfg.Owner, Name: "private-subnet", Version: 4,
			CIDR: s.private.String(), Gateway: nullString(s.private.Addr().Next().String()), DHCP: true,
			DNS: s.cfg.PrivateDNS,
		}
		sub.Pools = defaultPools(s.private, s.private.Addr().Next())
		err = s.insertSubnet(ctx, tx, net, sub)
		if err != nil {
			return err
		}
		err = countAnyway(ctx, tx, s.cfg.Owner, resNetwork, 1)
		if err != nil {
			return err
		}
		return countAnyway(ctx, tx, s.cfg.Owner, resSubnet, 1)
	})
	if schema.Duplicate(err) {
		return nil // another process was first
	}
	if err != nil {
		return fmt.Errorf("make the private network: %w", err)
	}
	return nil
}

func nullString(s string) sql.NullString { return sql.NullString{String: s, Valid: s != ""} }
