package compat

import (
	"bytes"
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

func operation(t testing.TB, name string) *Operation {
	t.Helper()
	for _, op := range Operations() {
		if op.Name() == name {
			return op
		}
	}
	t.Fatalf("no operation %s", name)
	return nil
}

func TestEverySchemaCompiles(t *testing.T) {
	n := 0
	for _, op := range Operations() {
		for _, list := range [][]rangedSchema{op.bodies, op.queries} {
			for _, s := range list {
				s.schema()
				n++
			}
		}
	}
	const least = 200
	if n < least {
		t.Errorf("only %d schemas", n)
	}
}

func TestBodyMessages(t *testing.T) {
	const id = `"70a599e0-31e7-49b7-b260-868f441e862b"`
	server := func(more string) string {
		return `{"server":{"name":"n","imageRef":` + id + `,"flavorRef":"1"` + more + `}}`
	}
	tests := []struct {
		op, body string
		version  Version
		want     string // "" is valid
	}{
		{"POST /servers", server(""), 1, ""},
		{"POST /servers", server(`,"x":1`), 1, "Invalid input for field/attribute server. Value: {"},
		{"POST /servers", server(`,"x":1`), 1, "Additional properties are not allowed ('x' was unexpected)"},
		{"POST /servers", server(""), 37, "'networks' is a required property"},
		{"POST /servers", server(`,"networks":"auto"`), 37, ""},
		{"POST /servers", server(`,"networks":"maybe"`), 37, "Invalid input for field/attribute networks. Value: maybe. 'maybe' is not valid under any"},
		{"POST /servers", `{"server":{"name":" n","imageRef":` + id + `,"flavorRef":"1"}}`, 1, "Can not start or end with whitespace."},
		{"POST /servers", `{"server":{"name":"` + strings.Repeat("n", 256) + `","imageRef":` + id + `,"flavorRef":"1"}}`, 1, "is too long"},
		{"POST /servers", `{"server":{"name":"a\u0000b","imageRef":` + id + `,"flavorRef":"1"}}`, 1, "Invalid input for field/attribute name"},
		{"POST /servers", server(`,"min_count":0`), 1, "0 is less than the minimum of 1"},
		{"POST /servers", server(`,"min_count":"0"`), 1, "less than the minimum of 1"},
		{"POST /servers", server(`,"user_data":"%"`), 1, "'%' is not a 'base64'"},
		{"POST /servers", server(`,"accessIPv4":"1.2.3"`), 1, "Invalid input for field/attribute accessIPv4. Value: 1.2.3."},
		{"POST /servers", server(`,"description":"d"`), 18, "unexpected"},
		{"POST /servers", server(`,"description":"d"`), 19, ""},
		{"POST /servers", server(`,"networks":"none","personality":[]`), 57, "unexpected"},
		{"POST /servers", `null`, 1, "None is not of type 'object'"},
		{"POST /servers", `{}`, 1, "'server' is a required property"},
		{"POST /servers", `{"server":{},"evil":1}`, 1, "Additional properties are not allowed ('evil' was unexpected)"},
		{"POST /servers/{id}/action reboot", `{"reboot":{"type":"FAST"}}`, 1, "'FAST' is not one of"},
		{"POST /servers/{id}/action os-resetState", `{"os-resetState":{"state":"building"}}`, 1, "is not one of"},
		{"POST /flavors", `{"flavor":{"name":"f","ram":1e30,"vcpus":1,"disk":1}}`, 1, "greater than the maximum of 2147483647"},
		{"POST /flavors", `{"flavor":{"name":"f","ram":"-1","vcpus":1,"disk":1}}`, 1, "Invalid input for field/attribute ram"},
		{"POST /os-keypairs", `{"keypair":{"name":"a/b"}}`, 1, "Invalid input for field/attribute name"},
	}
	for _, tt := range tests {
		body, err := jsonschema.UnmarshalJSON(strings.NewReader(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		f := operation(t, tt.op).CheckBody(tt.version, body)
		switch {
		case tt.want == "" && f != nil:
			t.Errorf("%s at %s %.120s: %v", tt.op, tt.version, tt.body, f)
		case tt.want != "" && (f == nil || f.Code != 400 || !strings.Contains(f.Message, tt.want)):
			t.Errorf("%s at %s %.120s: %v, want %q", tt.op, tt.version, tt.body, f, tt.want)
		}
	}
}

func TestQueryMessages(t *testing.T) {
	tests := []struct {
		query   string
		version Version
		want    string
	}{
		{"limit=5&unknown=1", 1, ""},
		{"unknown=1", 75, "Additional properties are not allowed ('unknown' was unexpected)"},
		{"limit=-1", 1, "Invalid input for query parameters limit. Value: -1. '-1' does not match '^[0-9]*$'"},
		{"limit=", 1, "too short"},
		{"sort_key=name;drop", 1, "Invalid input for query parameters sort_key"},
		{"name=%5B", 1, "is not a 'regex'"},
		{"name=", 1, "Invalid input for query parameters name. Value: . '' is not a 'regex'"},
		{"changes-since=yesterday", 1, "is not a 'date-time'"},
		{"changes-since=2026-01-01T00:00:00Z", 1, ""},
	}
	for _, tt := range tests {
		q, err := url.ParseQuery(strings.ReplaceAll(tt.query, ";", "%3B"))
		if err != nil {
			t.Fatal(err)
		}
		f := operation(t, "GET /servers").CheckQuery(tt.version, q)
		if tt.want == "" && f != nil || tt.want != "" && (f == nil || !strings.Contains(f.Message, tt.want)) {
			t.Errorf("%s at %s: %v, want %q", tt.query, tt.version, f, tt.want)
		}
	}
}

// Several fields are wrong: one answer, whatever order a map is walked in.
func TestBodyMessageIsTheSameEachTime(t *testing.T) {
	const wrong = `{"server":{"name":1,"flavorRef":[],"imageRef":3,"key_name":5}}`
	op := operation(t, "POST /servers")
	for range 50 {
		body, err := jsonschema.UnmarshalJSON(strings.NewReader(wrong))
		if err != nil {
			t.Fatal(err)
		}
		f := op.CheckBody(1, body)
		if f == nil || !strings.HasPrefix(f.Message, "Invalid input for field/attribute flavorRef.") {
			t.Fatal(f)
		}
	}
}

// Numbers of a few bytes and a huge value cost nothing.
func TestHugeNumbersAreRefusedAtOnce(t *testing.T) {
	for _, n := range []string{"1e999999", "-1e-999999", "1e99999999999999999999", strings.Repeat("9", 100_000)} {
		body, err := jsonschema.UnmarshalJSON(strings.NewReader(`{"flavor":{"name":"f","ram":` + n + `,"vcpus":1,"disk":1}}`))
		if err != nil {
			t.Fatal(err)
		}
		f := operation(t, "POST /flavors").CheckBody(1, body)
		if f == nil || f.Message != "Malformed request body" {
			t.Errorf("%.20s: %v", n, f)
		}
	}
	body := map[string]any{"flavor": map[string]any{"name": "f", "ram": strings.Repeat("9", 100), "vcpus": "1", "disk": "1"}}
	f := operation(t, "POST /flavors").CheckBody(1, body)
	if f == nil || !strings.Contains(f.Message, "greater than the maximum of 2147483647") {
		t.Errorf("digits in a string: %v", f)
	}
}

func TestLenientNumbersAndBooleans(t *testing.T) {
	for text, want := range map[string]int{`5`: 5, `"5"`: 5, `5.0`: 5, `1e2`: 100, `-1`: -1, `null`: 0} {
		var n Int
		if err := json.Unmarshal([]byte(text), &n); err != nil || int(n) != want {
			t.Errorf("%s: %d, %v", text, n, err)
		}
	}
	for _, text := range []string{`5.5`, `"5.0"`, `"x"`, `1e300`, `true`, `[]`, `""`} {
		var n Int
		if err := json.Unmarshal([]byte(text), &n); err == nil {
			t.Errorf("%s: %d", text, n)
		}
	}
	for text, want := range map[string]bool{`true`: true, `"On"`: true, `"1"`: true, `"NO"`: false, `"False"`: false, `false`: false} {
		var b Bool
		if err := json.Unmarshal([]byte(text), &b); err != nil || bool(b) != want {
			t.Errorf("%s: %t, %v", text, b, err)
		}
	}
	var b Bool
	if err := json.Unmarshal([]byte(`"maybe"`), &b); err == nil {
		t.Error("maybe is a boolean")
	}
}

func TestParseLimit(t *testing.T) {
	const largest = 1000
	for text, want := range map[string]int{"": largest, "limit=5": 5, "limit=0": 0, "limit=5000": largest,
		"limit=99999999999999999999999": largest, "limit=1&limit=2": 2, "limit=-1": -1, "limit=x": -1, "limit=": -1} {
		q, err := url.ParseQuery(text)
		if err != nil {
			t.Fatal(err)
		}
		n, f := ParseLimit(q, largest)
		if want < 0 && (f == nil || f.Code != 400) || want >= 0 && (f != nil || n != want) {
			t.Errorf("%q: %d, %v", text, n, f)
		}
	}
}

func TestTimes(t *testing.T) {
	for text, good := range map[string]bool{"2026-01-01T00:00:00Z": true, "2026-01-01T00:00Z": true, "2026-01-01": true,
		"2026-01-01 00:00:00": true, "2026-01-01T00:00:00.5+01:00": true, "2026-01-01T00:00:00 01:00": true,
		"2026-01-01 00:00:00 01:00": true, "2026/01/01": false, "yesterday": false, "": false, "2026-13-01": false} {
		if err := isTime(text); (err == nil) != good {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestLegacyBodyForgives(t *testing.T) {
	op := operation(t, "POST /servers")
	body, err := jsonschema.UnmarshalJSON(strings.NewReader(`{"server":{"name":" n ","imageRef":"70a599e0-31e7-49b7-b260-868f441e862b","flavorRef":"1","evil":{}},"more":1}`))
	if err != nil {
		t.Fatal(err)
	}
	body = op.LegacyBody(body)
	if f := op.CheckBody(1, body); f != nil {
		t.Error(f)
	}
	raw, err := json.Marshal(body)
	if err != nil || bytes.Contains(raw, []byte("evil")) || !bytes.Contains(raw, []byte(`"name":"n"`)) {
		t.Errorf("%s %v", raw, err)
	}
	zone := map[string]any{"aggregate": map[string]any{"name": " n ", "availability_zone": " z "}}
	raw, err = json.Marshal(operation(t, "POST /os-aggregates").LegacyBody(zone))
	if err != nil || string(raw) != `{"aggregate":{"availability_zone":"z","name":"n"}}` {
		t.Errorf("%s %v", raw, err)
	}
}

func FuzzBody(f *testing.F) {
	for _, s := range []string{`{"server":{"name":"n"}}`, `{"reboot":{"type":[]}}`, `[]`, `{"a":1e999}`, `{"server":{"networks":[{"uuid":1}]}}`, `{"a":1e999999}`, `{"flavor":{"ram":"99999999999999999999"}}`} {
		f.Add(s, uint16(1))
	}
	f.Fuzz(func(t *testing.T, text string, v uint16) {
		body, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err != nil {
			return
		}
		for _, op := range Operations() {
			fault := op.CheckBody(Version(v%104+1), body)
			if fault != nil && (fault.Code != 400 || len(fault.Message) > 4096) {
				t.Errorf("%s: %v", op.Name(), fault)
			}
		}
	})
}

func FuzzQuery(f *testing.F) {
	f.Add("limit=1&name=x", uint16(1))
	f.Add("sort_key=%00&x=%ff", uint16(80))
	f.Fuzz(func(t *testing.T, text string, v uint16) {
		q, err := url.ParseQuery(text)
		if err != nil {
			return
		}
		for _, op := range Operations() {
			fault := op.CheckQuery(Version(v%104+1), q)
			if fault != nil && fault.Code != 400 {
				t.Errorf("%s: %v", op.Name(), fault)
			}
		}
	})
}

func FuzzVersionHeaders(f *testing.F) {
	f.Add("compute 2.1", "2.1")
	f.Add(",,, ,compute", "latest")
	f.Fuzz(func(t *testing.T, modern, legacy string) {
		v, err := Negotiate(map[string][]string{"Openstack-Api-Version": {modern}, "X-Openstack-Nova-Api-Version": {legacy}})
		if err == nil && !(Range{MinVersion, MaxVersion}).Has(v) || err != nil && AsFault(err).Code >= 500 {
			t.Errorf("%q, %q: %v, %v", modern, legacy, v, err)
		}
	})
}

func BenchmarkCheckCreateBody(b *testing.B) {
	op := operation(b, "POST /servers")
	body, err := jsonschema.UnmarshalJSON(strings.NewReader(`{"server":{"name":"n","imageRef":"70a599e0-31e7-49b7-b260-868f441e862b","flavorRef":"1","networks":"auto","min_count":1,"max_count":1,"metadata":{"a":"b"}}}`))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if f := op.CheckBody(96, body); f != nil {
			b.Fatal(f)
		}
	}
}
