package work

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestReadResultBelievesNothing: what hosts may write as a report, and what is made of it.
func TestReadResultBelievesNothing(t *testing.T) {
	for name, raw := range map[string]string{
		"no JSON":               "",
		"not an object":         "[]",
		"cut off":               `{"power_state":`,
		"a power state too big": `{"power_state":99999999999}`,
		"beyond 64 bits":        `{"power_state":1e99}`,
		"a negative one":        `{"power_state":-1}`,
		"one that is unused":    `{"power_state":2}`,
		"a fraction":            `{"power_state":1.5}`,
		"not a number":          `{"power_state":NaN}`,
		"a text":                `{"power_state":"1"}`,
		"an unknown reason":     `{"reason":"<script>"}`,
		"a list as message":     `{"message":["x"]}`,
		"too long":              `{"detail":"` + strings.Repeat("x", MaxReport) + `"}`,
		"deep":                  strings.Repeat("[", 20000),
	} {
		_, err := ReadResult(Stop, raw)
		if err == nil {
			t.Errorf("%s was read", name)
		} else if len(err.Error()) > 300 {
			t.Errorf("%s: an error of %d bytes", name, len(err.Error()))
		}
	}
	many, err := ReadResult(Stop, `{"ports":[`+strings.Repeat(`{"port":"`+strings.Repeat("p", 99)+`","why":"`+strings.Repeat("w", 900)+`"},`, 100)+`{}]}`)
	if err != nil || len(many.Ports) != MaxPorts || len(many.Ports[0].Port) > 36 || len(many.Ports[0].Why) > MaxWhy {
		t.Errorf("%d ports, %v", len(many.Ports), err)
	}
	r, err := ReadResult(Stop, `{"power_state":4,"message":"`+strings.Repeat("é", MaxMessage)+`","detail":"a\u0000b"}`)
	if err != nil || r.PowerState != Shutdown || len(r.Message) > MaxMessage || r.Detail != "ab" {
		t.Errorf("%d bytes of message, detail %q, %v", len(r.Message), r.Detail, err)
	}
}

// TestEncodeFits: whatever a driver says, the report of it can be read.
func TestEncodeFits(t *testing.T) {
	for name, r := range map[string]Result{
		"control characters": {Output: strings.Repeat("\x1b", 400000), PowerState: PoweredOn},
		"no text":            {Output: strings.Repeat("\xff", 400000)},
		"a long detail":      {Detail: strings.Repeat("\x01", 1<<20), Message: strings.Repeat("m", 1<<20)},
	} {
		raw := r.Encode(ConsoleOutput)
		got, err := ReadResult(ConsoleOutput, raw)
		if err != nil || got.PowerState != r.PowerState {
			t.Errorf("%s: %d bytes, %v", name, len(raw), err)
		}
	}
	raw := Result{Output: "line\n"}.Encode(ConsoleOutput)
	var back Result
	if json.Unmarshal([]byte(raw), &back) != nil || back.Output != "line\n" {
		t.Errorf("a short one became %s", raw)
	}
}
