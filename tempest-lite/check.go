package tempestlite

import (
	"fmt"
	"regexp"
	"time"
)

// Kind is what a check is after.
type Kind string

// The kinds. All but Behaviour are made from the tables, for each operation that they suit.
const (
	Works        Kind = "works"         // the happy path: code, headers, schema and known values of the answer
	UnknownField Kind = "unknown-field" // a key that the body must not have: 400
	MissingField Kind = "missing-field" // a required key left out: 400
	WrongType    Kind = "wrong-type"    // a value of another type: 400
	WrongValue   Kind = "wrong-value"   // too long, too small, not of the list, not of the pattern: 400
	BadBody      Kind = "bad-body"      // no JSON, no object, no body: 400
	UnknownQuery Kind = "unknown-query" // a query parameter that is not known: 400 or ignored
	WrongQuery   Kind = "wrong-query"   // a query parameter with a wrong value: 400
	UnknownID    Kind = "unknown-id"    // nothing has this id: 404
	OtherProject Kind = "other-project" // it belongs to another project: 404
	WrongState   Kind = "wrong-state"   // the server is not in a state for it: 409
	Locked       Kind = "locked"        // the server is locked: 409
	Forbidden    Kind = "forbidden"     // a role too low: 403
	NoToken      Kind = "no-token"      // 401
	BadToken     Kind = "bad-token"     // 401
	TooOld       Kind = "too-old"       // the version before the operation's first: 404
	TooNew       Kind = "too-new"       // the version after its last: 404
	Gone         Kind = "gone"          // taken away from Nova: 410
	Paging       Kind = "paging"        // limit, marker, links
	Behaviour    Kind = "behaviour"     // written by hand
)

// Check is one question to the cloud.
type Check struct {
	ID      string // servers.reboot/works@2.1
	Title   string // what is true if it passes
	Area    string
	Op      *Operation // nil for behaviour over several operations
	Kind    Kind
	Version Version // 0: the check chooses

	// For explain. Empty on checks by hand, whose code says it.
	Sends   string
	Expects string
	Source  string

	Needs  []Need   // what the cloud must have; without it the check is skipped
	Alone  bool     // must not run beside others: it changes what they look at
	Covers []string // names of operations that a check by hand speaks for, for the coverage table

	Run func(*T)
}

// Need is something that not every cloud has.
type Need string

// What checks may need.
const (
	NeedAdmin      Need = "admin"          // an administrator's credentials
	NeedNewPolicy  Need = "new-policy"     // the roles reader, member and manager enforced
	NeedManager    Need = "manager role"   // the role in Keystone, and in the policies
	NeedService    Need = "service role"   // the role in Keystone, and in the policies
	NeedVolumes    Need = "volume service" // Cinder in the catalogue
	NeedNetworks   Need = "network service"
	NeedImages     Need = "image service"
	NeedShares     Need = "share service"
	NeedTwoHosts   Need = "two hosts"        // two compute services that are up
	NeedDisturb    Need = "hosts to disturb" // the user's leave to disable and force down hosts
	NeedFloatingIP Need = "floating ip pool" // an external network
)

// Outcome is how a check ended.
type Outcome string

// The outcomes.
const (
	Passed  Outcome = "passed"
	Failed  Outcome = "failed"
	Refused Outcome = "refused" // the cloud said 501: it does not do this
	Skipped Outcome = "skipped"
)

// Result is a check that has run.
type Result struct {
	Check     *Check
	Outcome   Outcome
	Reason    string     // of a skip or a refusal
	Faults    []string   // of a failure
	Refusal   string     // the operation that was refused, by name
	Exchanges []Exchange // of what did not pass
	Took      time.Duration
	Cause     *Cause // what this failure and others come from; nil if it stands alone
	Expected  bool   // not passed, and the list of expectations says so
	Known     string // why, in the list's words
}

// Selector chooses checks by their id.
type Selector struct {
	Only *regexp.Regexp
	Skip *regexp.Regexp
}

// NewSelector compiles the expressions of the command line; empty ones choose everything.
func NewSelector(only, skip string) (Selector, error) {
	var s Selector
	var err error
	if only != "" {
		s.Only, err = regexp.Compile(only)
	}
	if err == nil && skip != "" {
		s.Skip, err = regexp.Compile(skip)
	}
	if err != nil {
		return s, fmt.Errorf("reading --only and --skip: %w", err)
	}
	return s, nil
}

// Has tells whether a check is chosen.
func (s Selector) Has(c *Check) bool {
	return (s.Only == nil || s.Only.MatchString(c.ID)) && (s.Skip == nil || !s.Skip.MatchString(c.ID))
}
