package networks

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"kilonova/schema"
	"kilonova/schema/schematest"
)

// fill makes servers with a port each, quickly.
func fill(t testing.TB, s *Service, n int) []string {
	t.Helper()
	ctx := context.Background()
	p, err := s.Plan(ctx, memberOf(projectA), auto(), nil, n)
	if err != nil {
		t.Fatal(err)
	}
	ids := make([]string, n)
	err = s.db.Tx(ctx, func(tx *schema.Tx) error {
		for i := range ids {
			ids[i] = uuid.NewString()
			_, err := s.Allocate(ctx, tx, p, Device{ServerID: ids[i], ProjectID: projectA})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

// TestHotStatementsUseIndexes asks the database how it would run the statements that
// servers need all the time.
func TestHotStatementsUseIndexes(t *testing.T) {
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		s := newService(t, db, func(c *Config) { c.Quotas = map[string]int{"port": -1} })
		ids := fill(t, s, 1500)
		if db.Dialect == schema.MySQL {
			_, err := db.Exec("ANALYZE TABLE ports, port_addresses, port_security_groups, subnets, networks, security_groups")
			if err != nil {
				t.Fatal(err)
			}
		}
		statements := map[string]struct {
			query string
			args  []any
			index string
		}{
			"ports of servers":  {portsOfServers, []any{ids[:20]}, "ports_device"},
			"groups of servers": {groupsOfServers, []any{ids[:20]}, "ports_device"},
			"ports of a server": {portKeysOfServer, []any{ids[0]}, "ports_device"},
			"addresses in use":  {addressesInUse, []any{1, "0a4d0002", "0a4dffff", windowRows}, ""},
			"address holder":    {addressHolder, []any{1, "0a4d0002"}, ""},
			"addresses of port": {addressesOfPorts, []any{[]int64{1, 2}}, "port_addresses_port"},
			"default group":     {selectDefaultGroup, []any{projectA}, "security_groups_default"},
			"own quota":         {portRoom, []any{projectA, projectA}, ""},
			"group by name":     {groupsNamed, []any{projectA, []string{"x"}, []string{"x"}}, "security_groups_project"},
		}
		for name, st := range statements {
			query, args, err := sqlx.In(st.query, st.args...)
			if err != nil {
				t.Fatal(err)
			}
			plan, scan := explain(t, db, query, args)
			if scan != "" || !strings.Contains(plan, st.index) {
				t.Errorf("%s reads all of %q, want index %q:\n%s", name, scan, st.index, plan)
			}
		}
	})
}

// explain gives the database's plan and the tables of which it would read every row, but
// for those so small that this is the best way.
func explain(t *testing.T, db *schema.DB, query string, args []any) (plan, scan string) {
	t.Helper()
	word := "EXPLAIN QUERY PLAN "
	if db.Dialect == schema.MySQL {
		word = "EXPLAIN "
	}
	rows, err := db.Queryx(word+query, args...)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		m := map[string]any{}
		err = rows.MapScan(m)
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range m {
			if b, ok := v.([]byte); ok {
				m[k] = string(b)
			}
		}
		line, _ := json.Marshal(m) // for the eye
		plan += string(line) + "\n"
		detail := fmt.Sprint(m["detail"])
		if strings.HasPrefix(detail, "SCAN ") && !strings.Contains(detail, "CONSTANT ROW") {
			scan += detail + " "
		}
		small := map[string]bool{"n": true, "s": true, "g": true, "networks": true, "subnets": true, "security_groups": true, "network_quotas": true, "network_usage": true}
		if m["type"] == "ALL" && !small[fmt.Sprint(m["table"])] {
			scan += fmt.Sprint(m["table"]) + " "
		}
	}
	return plan, scan
}

// TestStatementsPerList: ports of a thousand servers are two statements.
func TestStatementsPerList(t *testing.T) {
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		s := newService(t, db, func(c *Config) { c.Quotas = map[string]int{"port": -1} })
		ids := fill(t, s, 1000)
		q := &counting{Querier: db}
		got, err := s.OfServers(context.Background(), q, ids)
		if err != nil || len(got) != 1000 || q.n != 2 {
			t.Errorf("%d servers in %d statements, %v", len(got), q.n, err)
		}
	})
}

// counting counts statements that read.
type counting struct {
	schema.Querier
	n int
}

func (c *counting) SelectContext(ctx context.Context, dest any, query string, args ...any) error {
	c.n++
	return c.Querier.SelectContext(ctx, dest, query, args...)
}

func (c *counting) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	c.n++
	return c.Querier.QueryContext(ctx, query, args...)
}

func each(b *testing.B, fn func(b *testing.B, db *schema.DB)) {
	b.Run("sqlite", func(b *testing.B) { fn(b, schematest.SQLite(b)) })
	b.Run("mariadb", func(b *testing.B) { fn(b, schematest.MySQL(b)) })
}

func BenchmarkPlan(b *testing.B) {
	each(b, func(b *testing.B, db *schema.DB) {
		s := newService(b, db)
		for b.Loop() {
			_, err := s.Plan(context.Background(), memberOf(projectA), auto(), nil, 1)
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkAllocate is the cost within a transaction that runs anyway.
func BenchmarkAllocate(b *testing.B) {
	each(b, func(b *testing.B, db *schema.DB) {
		s := newService(b, db, func(c *Config) { c.Quotas = map[string]int{"port": -1}; c.PrivateCIDR = "10.0.0.0/8" })
		ctx := context.Background()
		p, err := s.Plan(ctx, memberOf(projectA), auto(), nil, 1)
		if err != nil {
			b.Fatal(err)
		}
		err = db.Tx(ctx, func(tx *schema.Tx) error {
			for b.Loop() {
				_, err := s.Allocate(ctx, tx, p, Device{ServerID: uuid.NewString(), ProjectID: projectA})
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	})
}

// BenchmarkAddress is the taking of one address alone.
func BenchmarkAddress(b *testing.B) {
	each(b, func(b *testing.B, db *schema.DB) {
		s := newService(b, db, func(c *Config) { c.PrivateCIDR = "10.0.0.0/8"; c.Quotas = map[string]int{"port": -1} })
		ctx := context.Background()
		fill(b, s, 1)
		nets, err := s.available(ctx, projectA)
		if err != nil {
			b.Fatal(err)
		}
		err = db.Tx(ctx, func(tx *schema.Tx) error {
			for b.Loop() {
				_, err := s.takeAddress(ctx, tx, nets[0].Subnets[0], 1, 0)
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	})
}

func BenchmarkOfServers1000(b *testing.B) {
	each(b, func(b *testing.B, db *schema.DB) {
		s := newService(b, db, func(c *Config) { c.Quotas = map[string]int{"port": -1} })
		ids := fill(b, s, 1000)
		for b.Loop() {
			_, err := s.OfServers(context.Background(), db, ids)
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}
