package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	tempestlite "kilonova/tempest-lite"
)

func listCommand() *cobra.Command {
	var c choice
	var area string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the checks that there are",
		Long:  "Lists the checks that there are, with what is true if they pass. This needs no cloud.",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			contract, err := tempestlite.LoadContract()
			if err != nil {
				return err
			}
			checks, err := c.checks(contract)
			if err != nil {
				return err
			}
			checks, err = inArea(checks, area)
			if err != nil {
				return err
			}
			return writeList(os.Stdout, checks)
		},
	}
	c.flags(cmd)
	cmd.Flags().StringVar(&area, "area", "", "those under headings that match this `REGEXP`")
	return cmd
}

// checks are those that are chosen of all that there are for a cloud with every microversion.
func (c *choice) checks(contract *tempestlite.Contract) ([]*tempestlite.Check, error) {
	selector, err := tempestlite.NewSelector(c.only, c.skip)
	if err != nil {
		return nil, err
	}
	versions, err := tempestlite.ParseSelection(c.versions)
	if err != nil {
		return nil, err
	}
	all := tempestlite.Checks(contract, versions, tempestlite.Last)
	return slices.DeleteFunc(all, func(c *tempestlite.Check) bool { return !selector.Has(c) }), nil
}

func inArea(checks []*tempestlite.Check, area string) ([]*tempestlite.Check, error) {
	re, err := regexp.Compile("(?i)" + area)
	if err != nil {
		return nil, fmt.Errorf("reading --area: %w", err)
	}
	var names []string
	found := slices.DeleteFunc(slices.Clone(checks), func(c *tempestlite.Check) bool {
		if !slices.Contains(names, c.Area) {
			names = append(names, c.Area)
		}
		return !re.MatchString(c.Area)
	})
	if len(found) == 0 && len(checks) > 0 {
		return nil, fmt.Errorf("there is no area %q, but: %s", area, strings.Join(names, ", "))
	}
	return found, nil
}

func writeList(to io.Writer, checks []*tempestlite.Check) error {
	w := bufio.NewWriter(to)
	// A few ids are very long: they do not push all titles to the right.
	const widest = 60
	width := 0
	for _, c := range checks {
		if len(c.ID) <= widest {
			width = max(width, len(c.ID))
		}
	}
	for _, c := range checks {
		fmt.Fprintf(w, "%-*s  %s\n", width, c.ID, c.Title)
	}
	fmt.Fprintf(w, "\n%d checks\n", len(checks))
	return w.Flush()
}
