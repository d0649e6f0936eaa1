package tempestlite

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"go.yaml.in/yaml/v3"
)

// Call says how an operation is called so that it succeeds, and what else is known of it:
// one entry of contract/calls.yaml, whose head explains the words. A text that begins with
// $ is a value that the run makes: values.go has them.
type Call struct {
	Op         string            `yaml:"op"`           // name of the operation
	Path       []string          `yaml:"path"`         // what stands in the placeholders of the path, in their order
	Query      string            `yaml:"query"`        // of the happy path
	Body       any               `yaml:"body"`         // of the happy path, at the first version
	Since      map[string]any    `yaml:"since"`        // merged into the body from a version on
	Until      map[string]any    `yaml:"until"`        // merged into the body up to a version
	As         Role              `yaml:"as"`           // who calls it; by default the least role that may, of those that the run has
	Before     []Step            `yaml:"before"`       // calls that have to be made first
	Then       string            `yaml:"then"`         // the status that the server of $active and the like comes to, or several of which it may be any; "gone" if it goes
	Undo       string            `yaml:"undo"`         // path to DELETE afterwards; {a.b} is taken from the answer; "image" is the image that was made of a server
	Answer     any               `yaml:"answer"`       // what must be in the answer: values that are known
	AnswerBy   map[string]any    `yaml:"answer_since"` // as Answer, from a version on
	AnswerOwn  bool              `yaml:"answer_own"`   // the answer is known only where an administrator's run has made what is shown
	Conflict   []Conflict        `yaml:"conflict"`     // calls that are 409
	Unknown    *Unknown          `yaml:"unknown"`      // what an unknown id is answered with, where it is not 404
	Needs      []Need            `yaml:"needs"`
	NeedsTo    []Need            `yaml:"works_needs"` // what only the happy path needs
	Cannot     string            `yaml:"unsupported"` // why the cloud may truly answer 501: its driver or configuration
	Lacks      []string          `yaml:"lacks"`       // parts of the texts with which a cloud truly says that its driver or configuration has it not
	Alone      bool              `yaml:"alone"`
	Skip       map[Kind]string   `yaml:"skip"`  // kinds that make no sense here, each with the reason
	Only       []Kind            `yaml:"only"`  // no kinds but these
	Codes      []int             `yaml:"codes"` // codes that tell success beside the operation's
	Paging     *PagingSpec       `yaml:"paging"`
	Bodies     map[string]any    `yaml:"bodies"`      // more bodies that are 400: name to body
	Messages   map[string]string `yaml:"messages"`    // kind of a wrong body to a part of the fault's text, where it is not the schema's; "" is any
	Max        string            `yaml:"max"`         // the last version at which the happy path can be made here
	Alias      bool              `yaml:"alias"`       // another name of an operation: only at its first and last version, and with right bodies
	OpenBefore bool              `yaml:"open_before"` // the old default policy let members do it
	Locks      bool              `yaml:"locks"`       // refused with 409 on a locked server
	TooLow     []int             `yaml:"too_low"`     // what a role too low is answered, beside 403
	Others     []int             `yaml:"others"`      // what another project's members are answered, where it is not 404
}

// Step is a call that prepares another.
type Step struct {
	As     Role   `yaml:"as"`
	Method string `yaml:"method"`
	Path   string `yaml:"path"`
	Body   any    `yaml:"body"`
	Code   int    `yaml:"code"`
	Status string `yaml:"status"` // wait until the server of the path has it
}

// Conflict is a state in which the operation is refused.
type Conflict struct {
	State   string   `yaml:"state"`   // of the server that takes the place of the path's first value
	Message string   `yaml:"message"` // part of the text
	Code    int      `yaml:"code"`    // 409 if 0
	Body    any      `yaml:"body"`    // instead of the call's
	Path    []string `yaml:"path"`    // instead of the call's
	Name    string   `yaml:"name"`    // of the check, where it is not the state
}

// Unknown is what an id that nothing has is answered with.
type Unknown struct {
	Value string             `yaml:"value"`
	Code  int                `yaml:"code"`
	Since map[string]Unknown `yaml:"since"`
}

// PagingSpec says how a list is paged.
type PagingSpec struct {
	Key    string `yaml:"key"`    // the collection in the answer
	ID     string `yaml:"id"`     // dotted path of an item's marker
	Make   string `yaml:"make"`   // the value to make three of first
	Links  string `yaml:"links"`  // key of the next links; "" has none
	Since  string `yaml:"since"`  // the first version that pages
	Marker int    `yaml:"marker"` // code for an unknown marker
}

// readCalls reads the files contract/calls*.yaml.
func readCalls(c *Contract) (map[string]*Call, error) {
	entries, err := contractFiles.ReadDir("contract")
	if err != nil {
		return nil, fmt.Errorf("looking for the calls: %w", err)
	}
	out := map[string]*Call{}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "calls") {
			continue
		}
		data, err := contractFiles.ReadFile("contract/" + e.Name())
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", e.Name(), err)
		}
		err = addCalls(c, out, data)
		if err != nil {
			return nil, fmt.Errorf("contract/%s: %w", e.Name(), err)
		}
	}
	return out, nil
}

func addCalls(c *Contract, out map[string]*Call, data []byte) error {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	var calls []*Call
	err := dec.Decode(&calls)
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, call := range calls {
		op := c.byName[call.Op]
		if op == nil {
			return fmt.Errorf("there is no operation %q", call.Op)
		}
		if out[call.Op] != nil {
			return fmt.Errorf("operation %q stands twice", call.Op)
		}
		if want := strings.Count(op.Path, "{"); len(call.Path) != want {
			return fmt.Errorf("operation %q has %d placeholders in its path, and %d values", call.Op, want, len(call.Path))
		}
		out[call.Op] = call
	}
	return nil
}

// body is the call's body at a version, its values not yet filled in; nil if there is none.
func (call *Call) body(v Version) (any, error) {
	return merged(call.Body, call.Since, call.Until, v)
}

// answer is what is known of the answer at a version.
func (call *Call) answer(v Version) (any, error) {
	return merged(call.Answer, call.AnswerBy, nil, v)
}

func merged(base any, since, until map[string]any, v Version) (any, error) {
	if len(since)+len(until) == 0 {
		return base, nil
	}
	doc, err := json.Marshal(base)
	if err != nil {
		return nil, err
	}
	patches, err := inForce(since, until, v)
	if err != nil {
		return nil, err
	}
	for _, p := range patches {
		patch, err := json.Marshal(p)
		if err != nil {
			return nil, err
		}
		if string(doc) == "null" {
			doc = patch
			continue
		}
		doc, err = jsonpatch.MergePatch(doc, patch)
		if err != nil {
			return nil, err
		}
	}
	var out any
	err = json.Unmarshal(doc, &out)
	return out, err
}

// inForce are the patches that hold at a version, in the order of their versions.
func inForce(since, until map[string]any, v Version) ([]any, error) {
	type at struct {
		v     Version
		patch any
	}
	var list []at
	for _, m := range []struct {
		patches map[string]any
		holds   func(Version) bool
	}{
		{since, func(w Version) bool { return v >= w }},
		{until, func(w Version) bool { return v <= w }},
	} {
		for text, patch := range m.patches {
			w, err := ParseVersion(text)
			if err != nil {
				return nil, err
			}
			if m.holds(w) {
				list = append(list, at{w, patch})
			}
		}
	}
	slices.SortFunc(list, func(a, b at) int { return int(a.v - b.v) })
	out := make([]any, len(list))
	for i, a := range list {
		out[i] = a.patch
	}
	return out, nil
}
