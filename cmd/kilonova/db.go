package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func dbCommand(p *process) *cobra.Command {
	cmd := &cobra.Command{Use: "db", Short: "Look after the database"}
	p.set.AddFlags(cmd.PersistentFlags(), "db")
	cmd.AddCommand(&cobra.Command{
		Use: "migrate", Short: "Bring the database to this program's version", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			db, err := p.Database.open(c.Context())
			if err != nil {
				return err
			}
			defer db.Close()
			return migrate(c.Context(), db)
		},
	}, &cobra.Command{
		Use: "status", Short: "List the migrations and whether the database has them", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			db, err := p.Database.openThere(c.Context())
			if err != nil {
				return err
			}
			defer db.Close()
			list, err := db.Status(c.Context())
			for _, m := range list {
				state := "missing"
				if m.Applied {
					state = "applied"
				}
				fmt.Fprintf(c.OutOrStdout(), "%5d  %-8s %s\n", m.Version, state, m.Source)
			}
			return err
		},
	}, &cobra.Command{
		Use: "check", Short: "Compare usage, capacity and addresses with what the servers add up to", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			db, err := p.Database.openThere(c.Context())
			if err != nil {
				return err
			}
			defer db.Close()
			return check(c.Context(), db, c.OutOrStdout())
		},
	}, resetKeyCommand(p))
	return cmd
}
