package tempestlite

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// WriteText writes the summary that ends a run: what failed and why, what was refused and
// skipped with the reasons, and a line for each area.
func (r *Report) WriteText(w io.Writer) {
	for _, x := range r.Results {
		if x.Outcome == Failed && !x.Expected {
			fmt.Fprintf(w, "FAILED  %s\n", x.Check.ID)
			for _, f := range x.Faults {
				fmt.Fprintf(w, "        %s\n", f)
			}
		}
	}
	tell(w, "REFUSED (501)", r.reasons(Refused))
	tell(w, "SKIPPED", r.reasons(Skipped))
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(tw, "\narea\tpassed\tfailed\trefused\tskipped\t\n")
	areas, counts := r.Areas()
	for _, a := range areas {
		c := counts[a]
		fmt.Fprintf(tw, "%s\t%d\t%d\t%d\t%d\t\n", a, c[Passed], c[Failed], c[Refused], c[Skipped])
	}
	fmt.Fprintf(tw, "all\t%d\t%d\t%d\t%d\t\n", r.Count(Passed), r.Count(Failed), r.Count(Refused), r.Count(Skipped))
	_ = tw.Flush()
	fmt.Fprintf(w, "\n%d checks in %.1f s (%.0f a second) on %s, microversions 2.1 to %s of %s; policies: %s\n",
		len(r.Results), r.Took.Seconds(), float64(len(r.Results))/r.Took.Seconds(), r.Endpoint, r.Tested, r.CloudMax, r.Policies)
	for _, l := range r.Leftovers {
		fmt.Fprintf(w, "left behind: %s\n", l)
	}
}

// Areas are the headings in the order of the checks, with how their checks ended.
func (r *Report) Areas() ([]string, map[string]map[Outcome]int) {
	var order []string
	counts := map[string]map[Outcome]int{}
	for _, x := range r.Results {
		a := x.Check.Area
		if counts[a] == nil {
			counts[a] = map[Outcome]int{}
			order = append(order, a)
		}
		counts[a][x.Outcome]++
	}
	return order, counts
}

// reasons groups the checks that ended so by why.
func (r *Report) reasons(o Outcome) map[string][]string {
	out := map[string][]string{}
	for _, x := range r.Results {
		if x.Outcome == o {
			out[x.Reason] = append(out[x.Reason], x.Check.ID)
		}
	}
	return out
}

func tell(w io.Writer, heading string, reasons map[string][]string) {
	if len(reasons) == 0 {
		return
	}
	fmt.Fprintf(w, "%s\n", heading)
	var keys []string
	for k := range reasons {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		ids := reasons[k]
		shown := strings.Join(ids[:min(len(ids), 3)], ", ")
		if len(ids) > 3 {
			shown += fmt.Sprintf(", … %d in all", len(ids))
		}
		fmt.Fprintf(w, "        %s: %s\n", k, shown)
	}
}
