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
	server := func(more string) string { return `{"server":{"name":"n","imageRef":` + id + `,"flavorRef":"1"` + more + `}}` }
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
}

func FuzzBody(f *testing.F) {
	for _, s := range []string{`{"server":{"name":"n"}}`, `{"reboot":{"type":[]}}`, `[]`, `{"a":1e999}`, `{"server":{"networks":[{"uuid":1}]}}`, `{"flavor":{"ram":"99999999999999999999"}}`} {
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
