package main

import (
	"bytes"
	"strings"
	"testing"

	tempestlite "kilonova/tempest-lite"
)

func someChecks() []*tempestlite.Check {
	op := &tempestlite.Operation{Name: "servers.create", Area: "servers", Method: "POST", Path: "/servers"}
	check := func(id string, v tempestlite.Version) *tempestlite.Check {
		return &tempestlite.Check{
			ID: id + "@" + v.String(), Title: "POST /servers works", Area: "servers", Op: op, Kind: tempestlite.Works, Version: v,
			Sends: `POST /servers {"server":{"name":"$name"}}`, Expects: "202", Source: "Compute API", Needs: []tempestlite.Need{tempestlite.NeedAdmin},
		}
	}
	return []*tempestlite.Check{
		check("servers.create/works", 1), check("servers.create/works", 90), check("servers.create/no-token", 1), check("servers.list/works", 1),
		{ID: "behaviour/servers/lock", Title: "a lock holds", Area: "behaviour: servers", Kind: tempestlite.Behaviour, Source: "guide", Covers: []string{"servers.lock"}},
	}
}

func TestFind(t *testing.T) {
	for word, want := range map[string]string{
		"servers.create/works@2.1":  "servers.create/works@2.1",
		"servers.create/works":      "servers.create/works@2.90",
		"servers.create/no":         "servers.create/no-token@2.1",
		"lock$":                     "behaviour/servers/lock",
		"servers.create":            "means 2 checks; give one of them:\n  servers.create/works\n  servers.create/no-token",
		"servers.craete/works":      "did you mean:\n  servers.create/works",
		"quite another thing (else": "tempest-lite list shows",
	} {
		found, err := find(someChecks(), word)
		got := ""
		if err != nil {
			got = err.Error()
		} else {
			got = found[len(found)-1].ID
		}
		if !strings.Contains(got, want) {
			t.Errorf("%q finds %q, not %q", word, got, want)
		}
	}
}

func TestExplain(t *testing.T) {
	found, err := find(someChecks(), "servers.create/works")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	explain(&out, found)
	for _, part := range []string{
		"servers.create/works@2.90\nPOST /servers works\n", "operation  servers.create: POST /servers\n", "needs      an administrator's credentials\n",
		"sends      POST /servers\n           OpenStack-API-Version: compute 2.90\n           {\n             \"server\": {\n", "expects    202\n", "also at    2.1\n",
	} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("the explanation does not say %q:\n%s", part, out.String())
		}
	}
}

func TestList(t *testing.T) {
	checks, err := inArea(someChecks(), "^behav")
	if err != nil || len(checks) != 1 {
		t.Fatalf("the area has %d checks (%v)", len(checks), err)
	}
	var out bytes.Buffer
	if err := writeList(&out, checks); err != nil || out.String() != "behaviour/servers/lock  a lock holds\n\n1 checks\n" {
		t.Errorf("the list is %q (%v)", out.String(), err)
	}
	_, err = inArea(someChecks(), "flavors")
	if err == nil || !strings.Contains(err.Error(), "servers, behaviour: servers") {
		t.Errorf("of an unknown area it says %v", err)
	}
}

func TestEveryNeedHasWords(t *testing.T) {
	contract, err := tempestlite.LoadContract()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range tempestlite.Checks(contract, tempestlite.Selection{}, tempestlite.Last) {
		for _, n := range c.Needs {
			if inWords[n] == "" {
				t.Fatalf("there are no words for the need %q of %s", n, c.ID)
			}
		}
	}
}
