package main

import (
	"context"
	"fmt"
	"io"

	"kilonova/hosts"
	"kilonova/networks"
	"kilonova/quotas"
	"kilonova/schema"
	"kilonova/servers/lifecycle"
)

// check compares what hosts, quotas and networks have on record with what the servers add
// up to, and fails when they differ.
func check(ctx context.Context, db *schema.DB, out io.Writer) error {
	want, err := lifecycle.Total(ctx, db)
	if err != nil {
		return err
	}
	problems := 0
	report := func(format string, a ...any) {
		problems++
		fmt.Fprintf(out, format+"\n", a...)
	}
	list, err := hosts.New(db, nil).List(ctx)
	if err != nil {
		return err
	}
	claimed, err := hosts.AllClaimed(ctx, db)
	if err != nil {
		return err
	}
	for _, h := range list {
		if rows := claimed[h.Name]; rows.Need != want.Hosts[h.Name] || rows.Servers != want.Claims[h.Name] {
			report("host %s: claims of %+v for %d servers, they hold %+v for %d", h.Name, rows.Need, rows.Servers, want.Hosts[h.Name], want.Claims[h.Name])
		}
		have := hosts.Need{VCPUs: h.VCPUsUsed, MemoryMB: h.MemoryMBUsed, DiskGB: h.DiskGBUsed}
		if have != want.Hosts[h.Name] || h.Servers != want.Claims[h.Name] {
			report("host %s: recorded %+v for %d servers, they hold %+v for %d", h.Name, have, h.Servers, want.Hosts[h.Name], want.Claims[h.Name])
		}
	}
	usage, err := quotas.AllUsage(ctx, db)
	if err != nil {
		return err
	}
	for project, d := range want.Projects {
		if usage[project] != d {
			report("project %s: recorded %+v, the servers use %+v", project, usage[project], d)
		}
	}
	for project, d := range usage {
		if _, ok := want.Projects[project]; !ok && d != (quotas.Delta{}) {
			report("project %s: recorded %+v, it has no servers", project, d)
		}
	}
	stray, err := networks.StrayPorts(ctx, db, want.Living)
	if err != nil {
		return err
	}
	for _, id := range stray {
		report("port %s belongs to a server that is gone", id)
	}
	open, err := lifecycle.Unsettled(ctx, db)
	if err != nil {
		return err
	}
	loose, err := db.Undurable(ctx)
	if err != nil {
		return err
	}
	for _, setting := range loose { // no difference, but one to come
		fmt.Fprintf(out, "warning: the database can lose answered requests: %s\n", setting)
	}
	fmt.Fprintf(out, "%d hosts, %d servers, %d under way, %d differences\n", len(list), len(want.Living), open, problems)
	if problems > 0 {
		return fmt.Errorf("%d differences", problems)
	}
	return nil
}
