package work

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// How long what a host says may be, in bytes: in the work row, and of it in the cloud.
const (
	MaxReport  = 128 << 10 // the JSON form of a Result
	MaxAnswer  = 1 << 20   // the same of a question: console output, diagnostics
	MaxMessage = 1024
	MaxDetail  = 16384
	MaxPorts   = 64  // that failed
	MaxWhy     = 500 // for each
)

// PowerStates are the power states that there are.
var PowerStates = []PowerState{NoState, PoweredOn, Paused, Shutdown, Crashed, Suspended}

var reasons = []string{"", ReasonNoAgent, ReasonNoConsole, ReasonNoInstance, ReasonDiskTooSmall}

// MaxResult is how long the JSON form of a Result of this kind of work may be.
func MaxResult(k Kind) int {
	if k == ConsoleOutput || k == Diagnose {
		return MaxAnswer
	}
	return MaxReport
}

// ReadResult reads what a host wrote into a work row, and believes nothing of it: an error
// says what is wrong with it. Texts that are too long are cut.
func ReadResult(k Kind, raw string) (Result, error) {
	var r Result
	if len(raw) > MaxResult(k) {
		return Result{}, fmt.Errorf("a report of %d bytes: at most %d are read", len(raw), MaxResult(k))
	}
	err := json.Unmarshal([]byte(raw), &r)
	if err != nil {
		return Result{}, fmt.Errorf("a report that cannot be read: %s", Clip(err.Error(), 200)) // it may quote all of it
	}
	if !slices.Contains(PowerStates, r.PowerState) {
		return Result{}, fmt.Errorf("a report with power state %d: there is no such state", r.PowerState)
	}
	if !slices.Contains(reasons, r.Reason) {
		return Result{}, fmt.Errorf("a report with the reason %.20q: there is no such reason", r.Reason)
	}
	r.cut()
	return r, nil
}

// cut brings texts and lists to the length that they may have.
func (r *Result) cut() {
	r.Message, r.Detail = Clip(r.Message, MaxMessage), Clip(r.Detail, MaxDetail)
	r.Ports = slices.Clone(r.Ports[:min(len(r.Ports), MaxPorts)])
	for i := range r.Ports {
		r.Ports[i] = PortFailure{Clip(r.Ports[i].Port, 36), Clip(r.Ports[i].Why, MaxWhy)}
	}
}

// Encode gives the JSON form of a result for a work row, cut to what is read there.
func (r Result) Encode(k Kind) string {
	r.cut()
	for {
		raw, err := json.Marshal(r)
		if err != nil {
			return "{}" // a Result is a plain struct: it always encodes
		}
		if len(raw) <= MaxResult(k) {
			return string(raw)
		}
		// Of a console the end matters; quoting may have made it up to six times as long.
		r.Output = strings.ToValidUTF8(r.Output[len(r.Output)-len(r.Output)/2:], "")
	}
}

// Clip cuts a text to at most so many bytes and marks the cut.
func Clip(s string, most int) string {
	s = strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "")
	if len(s) <= most {
		return s
	}
	const mark = "..."
	return strings.ToValidUTF8(s[:most-len(mark)], "") + mark
}
