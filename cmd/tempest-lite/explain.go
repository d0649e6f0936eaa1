package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	tempestlite "kilonova/tempest-lite"
)

func explainCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "explain CHECK",
		Short: "Say what a check sends and expects, and where that is from",
		Long: `Says what a check sends and what it expects, and where that is from. This needs no cloud.

CHECK is an id, the beginning of one, or an expression that matches one.`,
		Example: "  tempest-lite explain servers.show/works@2.1\n  tempest-lite explain servers.reboot/forbidden",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("explain takes one check; tempest-lite list shows them")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			contract, err := tempestlite.LoadContract()
			if err != nil {
				return err
			}
			// At all versions, so that ids between the edges are known too.
			every := choice{versions: "all"}
			checks, err := every.checks(contract)
			if err != nil {
				return err
			}
			found, err := find(checks, args[0])
			if err != nil {
				return err
			}
			explain(os.Stdout, found)
			return nil
		},
	}
}

// find is the check that a word means, with its like at other microversions behind it.
func find(checks []*tempestlite.Check, word string) ([]*tempestlite.Check, error) {
	for _, c := range checks {
		if c.ID == word {
			return []*tempestlite.Check{c}, nil
		}
	}
	matches := func(want func(id string) bool) []*tempestlite.Check {
		return slices.DeleteFunc(slices.Clone(checks), func(c *tempestlite.Check) bool { return !want(c.ID) })
	}
	found := matches(func(id string) bool { return withoutVersion(id) == word })
	if len(found) == 0 {
		found = matches(func(id string) bool { return strings.HasPrefix(id, word) })
	}
	if len(found) == 0 {
		re, err := regexp.Compile(word)
		if err == nil {
			found = matches(re.MatchString)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("there is no check %q%s", word, didYouMean(checks, word))
	}
	var names []string
	for _, c := range found {
		if n := withoutVersion(c.ID); !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	if len(names) > 1 {
		const show = 15
		text := "\n  " + strings.Join(names[:min(show, len(names))], "\n  ")
		if len(names) > show {
			text += "\n  …"
		}
		return nil, fmt.Errorf("%q means %d checks; give one of them:%s", word, len(names), text)
	}
	return found, nil
}

func withoutVersion(id string) string {
	if i := strings.LastIndex(id, "@"); i >= 0 {
		return id[:i]
	}
	return id
}

// didYouMean names the ids that are most like a word.
func didYouMean(checks []*tempestlite.Check, word string) string {
	want := withoutVersion(word)
	type near struct {
		id       string
		distance int
	}
	var all []near
	seen := map[string]bool{}
	for _, c := range checks {
		id := withoutVersion(c.ID)
		if !seen[id] {
			seen[id] = true
			all = append(all, near{id, distance(want, id)})
		}
	}
	slices.SortStableFunc(all, func(a, b near) int { return cmp.Compare(a.distance, b.distance) })
	text := ""
	for _, n := range all[:min(3, len(all))] {
		if n.distance <= max(3, len(want)/2) {
			text += "\n  " + n.id
		}
	}
	if text == "" {
		return "; tempest-lite list shows those that there are"
	}
	return "; did you mean:" + text
}

// distance is how many letters must be changed, added or left out.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		last := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := last
			if a[i] != b[j] {
				cost = min(last, row[j], row[j+1]) + 1
			}
			last, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}

// inWords says what a need means.
var inWords = map[tempestlite.Need]string{
	tempestlite.NeedAdmin:      "an administrator's credentials",
	tempestlite.NeedNewPolicy:  "policies that tell reader, member and manager apart",
	tempestlite.NeedManager:    "the role manager",
	tempestlite.NeedService:    "the role service",
	tempestlite.NeedVolumes:    "a volume service in the catalogue",
	tempestlite.NeedNetworks:   "a network service in the catalogue",
	tempestlite.NeedImages:     "an image service in the catalogue",
	tempestlite.NeedShares:     "a share service in the catalogue",
	tempestlite.NeedTwoHosts:   "two compute hosts that are up",
	tempestlite.NeedDisturb:    "leave to disable and force down compute services (--disturb)",
	tempestlite.NeedFloatingIP: "an external network with floating IPs",
}

func explain(w io.Writer, found []*tempestlite.Check) {
	c := found[len(found)-1]
	fmt.Fprintf(w, "%s\n%s\n\n", c.ID, c.Title)
	line := func(name, text string) {
		if text != "" {
			fmt.Fprintf(w, "%-10s %s\n", name, strings.ReplaceAll(text, "\n", "\n           "))
		}
	}
	line("area", c.Area)
	if c.Op != nil {
		line("operation", c.Op.Name+": "+c.Op.Key())
	}
	line("needs", needsText(c))
	line("sends", sendsText(c))
	line("expects", c.Expects)
	line("source", c.Source)
	line("covers", strings.Join(c.Covers, ", "))
	if c.Alone {
		line("runs", "alone: it changes what other checks look at")
	}
	if len(found) > 1 {
		var others []string
		for _, o := range found[:len(found)-1] {
			others = append(others, o.Version.String())
		}
		line("also at", foldVersions(others))
	}
}

func foldVersions(all []string) string {
	if len(all) > 8 {
		return fmt.Sprintf("%s … %s (%d microversions)", all[0], all[len(all)-1], len(all))
	}
	return strings.Join(all, ", ")
}

func needsText(c *tempestlite.Check) string {
	var out []string
	for _, n := range c.Needs {
		text := inWords[n]
		if text == "" {
			text = string(n)
		}
		if !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	return strings.Join(out, "; ")
}

// sendsText shows the body with lines of its own, and says what its words with a $ are.
func sendsText(c *tempestlite.Check) string {
	call, body, has := strings.Cut(c.Sends, " {")
	text := c.Sends
	if has {
		var pretty bytes.Buffer
		if json.Indent(&pretty, []byte("{"+body), "", "  ") == nil {
			text = call + "\n" + pretty.String()
		}
	}
	if c.Version != 0 && text != "" {
		head, rest, _ := strings.Cut(text, "\n")
		text = strings.TrimSuffix(head+"\nOpenStack-API-Version: compute "+c.Version.String()+"\n"+rest, "\n")
	}
	if c.Op != nil && c.Kind != tempestlite.Works && c.Kind != tempestlite.Gone && text != "" {
		text += "\n(This is the call as it works; the check changes in it what its title says.)"
	}
	if strings.Contains(c.Sends, "$") {
		text += "\n(Words with a $ are filled in when the check runs.)"
	}
	return text
}
