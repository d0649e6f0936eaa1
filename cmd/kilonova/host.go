package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"kilonova/hosts"
	"kilonova/schema"
	"kilonova/work"
)

func hostCommand(p *process) *cobra.Command {
	cmd := &cobra.Command{Use: "host", Short: "Add, list, drain and remove compute hosts"}
	p.set.AddFlags(cmd.PersistentFlags(), "host")
	with := func(do func(c *cobra.Command, db *schema.DB, host string) error) func(*cobra.Command, []string) error {
		return func(c *cobra.Command, args []string) error {
			db, err := p.Database.open(c.Context())
			if err != nil {
				return err
			}
			defer db.Close()
			host := ""
			if len(args) > 0 {
				host = args[0]
			}
			return do(c, db, host)
		}
	}
	var from string
	add := &cobra.Command{Use: "add HOST", Short: "Make the host's row and its own database account", Args: cobra.ExactArgs(1),
		RunE: with(func(c *cobra.Command, db *schema.DB, host string) error {
			if db.Dialect != schema.MySQL {
				return schema.ErrNoAccounts
			}
			err := hosts.New(db, nil).Add(c.Context(), host, work.HostInfo{Hostname: host})
			if err != nil {
				return err
			}
			cred, err := schema.AddHostAccount(c.Context(), db, host, from)
			if err != nil {
				return err
			}
			open, err := db.Exposed(c.Context())
			if err != nil {
				return err
			}
			for _, setting := range open {
				fmt.Fprintf(c.ErrOrStderr(), "warning: were this account stolen, it could harm other hosts: %s\n", setting)
			}
			fmt.Fprintf(c.OutOrStdout(), "# The database address of computed on %s; keep it secret.\nKILONOVA_DB='%s'\n", host, cred.DSN())
			return nil
		})}
	add.Flags().StringVar(&from, "from", "%", "address pattern from which the host may log in")
	cmd.AddCommand(add,
		&cobra.Command{Use: "list", Short: "List the hosts", Args: cobra.NoArgs, RunE: with(func(c *cobra.Command, db *schema.DB, _ string) error {
			list, err := hosts.New(db, nil).List(c.Context())
			for _, h := range list {
				state := "down"
				if h.Up(schema.Clock(nil).Now()) {
					state = "up"
				}
				if h.Disabled {
					state += ", drained"
				}
				fmt.Fprintf(c.OutOrStdout(), "%-24s %-12s %d servers, %d of %d vCPUs, %d of %d MB\n", h.Name, state, h.Servers, h.VCPUsUsed, h.VCPUs, h.MemoryMBUsed, h.MemoryMB)
			}
			return err
		})},
		&cobra.Command{Use: "drain HOST", Short: "Give the host no new servers", Args: cobra.ExactArgs(1), RunE: with(func(c *cobra.Command, db *schema.DB, host string) error {
			return hosts.New(db, nil).Disable(c.Context(), host, true, "drained by the operator")
		})},
		&cobra.Command{Use: "undrain HOST", Short: "Let the host have new servers again", Args: cobra.ExactArgs(1), RunE: with(func(c *cobra.Command, db *schema.DB, host string) error {
			return hosts.New(db, nil).Disable(c.Context(), host, false, "")
		})},
		&cobra.Command{Use: "revoke HOST", Short: "End the host's database accounts and their sessions at once; `host add` makes a new one",
			Args: cobra.ExactArgs(1), RunE: with(func(c *cobra.Command, db *schema.DB, host string) error {
				return schema.RemoveHostAccount(c.Context(), db, host)
			})},
		&cobra.Command{Use: "remove HOST", Short: "Remove an empty host and its database account", Args: cobra.ExactArgs(1), RunE: with(func(c *cobra.Command, db *schema.DB, host string) error {
			err := hosts.New(db, nil).Remove(c.Context(), host)
			if err != nil {
				return err
			}
			return schema.RemoveHostAccount(c.Context(), db, host)
		})})
	return cmd
}
