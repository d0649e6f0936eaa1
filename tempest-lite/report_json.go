package tempestlite

import (
	"encoding/json"
	"io"
	"time"
)

// The shape of --json. Format changes when a reader of the last one would misread it.
type jsonReport struct {
	Format   string       `json:"format"` // tempest-lite/1
	Run      jsonRun      `json:"run"`
	Total    Tally        `json:"total"`
	Areas    []*AreaTally `json:"areas"`
	Causes   []jsonCause  `json:"causes"` // what breaks many checks, the worst first
	Results  []jsonResult `json:"results"`
	Coverage *Coverage    `json:"coverage"`
}

type jsonRun struct {
	Program     string    `json:"program"` // its version
	Endpoint    string    `json:"endpoint"`
	CloudMax    string    `json:"cloud_max_microversion"`
	Tested      string    `json:"tested_max_microversion"`
	Policies    string    `json:"policies"`
	Began       time.Time `json:"began"`
	Seconds     float64   `json:"seconds"`
	Interrupted bool      `json:"interrupted"`
	Exit        int       `json:"exit_status"`
	Unmet       []string  `json:"unmet_expectations"`
	Leftovers   []string  `json:"left_behind"`
	Kept        []string  `json:"kept"`
	Prefix      string    `json:"name_prefix"`
}

type jsonCause struct {
	Fault   string   `json:"fault"`
	Check   string   `json:"check"`  // stands for it, and is counted as failed
	Follow  int      `json:"follow"` // more checks that fail for it
	Affects []string `json:"affects"`
}

type jsonResult struct {
	ID        string     `json:"id"`
	Title     string     `json:"title"`
	Area      string     `json:"area"`
	Operation string     `json:"operation,omitempty"` // none for behaviour
	Kind      Kind       `json:"kind"`
	Version   string     `json:"microversion,omitempty"`
	Outcome   Outcome    `json:"outcome"` // passed, failed, refused, skipped
	Expected  bool       `json:"expected,omitempty"`
	Known     string     `json:"known,omitempty"`   // why it is expected
	Reason    string     `json:"reason,omitempty"`  // of a skip or a refusal
	Refusal   string     `json:"refusal,omitempty"` // the operation that was refused
	Faults    []string   `json:"faults,omitempty"`
	Cause     string     `json:"cause,omitempty"` // the id of the check that fails for the same thing and stands for it
	Seconds   float64    `json:"seconds"`
	Exchanges []Exchange `json:"exchanges,omitempty"` // of what did not pass; bodies are cut
}

// WriteJSON writes all that the run has found, for programs.
func (r *Report) WriteJSON(w io.Writer) error {
	out := jsonReport{
		Format: "tempest-lite/1",
		Run: jsonRun{
			Program: r.Program, Endpoint: r.Endpoint, CloudMax: r.CloudMax, Tested: r.Tested.String(), Policies: r.Policies, Began: r.Began,
			Seconds: r.Took.Seconds(), Interrupted: r.Interrupted, Exit: r.ExitStatus(),
			Prefix: r.Prefix, Unmet: noNull(r.Unmet), Leftovers: noNull(r.Leftovers), Kept: noNull(r.Kept),
		},
		Total: r.Tally(), Areas: r.Areas(), Coverage: r.Coverage(), Results: []jsonResult{}, Causes: []jsonCause{},
	}
	for _, c := range r.Causes {
		out.Causes = append(out.Causes, jsonCause{Fault: c.Fault, Check: c.Results[0].Check.ID, Follow: c.Follow(), Affects: c.Subjects()})
	}
	for _, x := range r.Results {
		j := jsonResult{
			ID: x.Check.ID, Title: x.Check.Title, Area: x.Check.Area, Kind: x.Check.Kind, Version: x.Check.Version.String(), Outcome: x.Outcome,
			Expected: x.Expected, Known: x.Known, Reason: x.Reason, Refusal: x.Refusal, Faults: x.Faults, Seconds: x.Took.Seconds(), Exchanges: x.Exchanges,
		}
		if x.Follows() {
			j.Cause = x.Cause.Results[0].Check.ID
		}
		if x.Check.Op != nil {
			j.Operation = x.Check.Op.Name
		}
		out.Results = append(out.Results, j)
	}
	return writeJSON(w, out)
}

func writeJSON(w io.Writer, value any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", " ")
	e.SetEscapeHTML(false)
	return e.Encode(value)
}

// noNull makes an empty list of none: readers need no case for null.
func noNull(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
