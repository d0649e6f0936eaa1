package compat

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

type testView struct {
	ID       string            `json:"id"`
	Old      string            `json:"old" until:"2.46"`
	Locked   bool              `json:"locked" since:"2.9"`
	Host     *string           `json:"host" show:"admin"`
	Task     *string           `json:"task" since.update:"2.75"`
	Groups   []string          `json:"groups" since:"2.71" in:"show,update"`
	Meta     map[string]string `json:"meta"`
	Fault    *testInner        `json:"fault,omitnil"`
	Inner    []testInner       `json:"inner"`
	Raw      Raw               `json:"raw"`
	Factor   float64           `json:"factor"`
	Progress *int              `json:"progress,omitnil"`
}

type testInner struct {
	A int    `json:"a"`
	B string `json:"b" since:"2.3"`
}

func TestViewFollowsVersionViewAndFlags(t *testing.T) {
	enc := NewEncoder[testView]("admin")
	v := testView{ID: "x", Old: "o", Inner: []testInner{{1, "b"}}, Raw: Raw(`{"k":1}`), Factor: 1}
	tests := []struct {
		name, want, forbid string
		at                 At
	}{
		{"first version", `{"id":"x","old":"o","task":null,"meta":{},"inner":[{"a":1}],"raw":{"k":1},"factor":1.0}`, "locked", At{Version: 1, View: "show"}},
		{"nested since", `"inner":[{"a":1,"b":"b"}]`, "groups", At{Version: 3, View: "show"}},
		{"since", `"locked":false`, "groups", At{Version: 9, View: "show"}},
		{"until", `{"id":"x","locked"`, `"old"`, At{Version: 47, View: "show"}},
		{"other start in update", `"meta"`, `"task"`, At{Version: 74, View: "update"}},
		{"from its start", `"task":null`, "host", At{Version: 75, View: "update"}},
		{"only in its views", `"locked"`, "groups", At{Version: 80, View: "detail"}},
		{"flag", `"host":null`, "fault", At{Version: 1, View: "show", Show: enc.Show("admin")}},
	}
	for _, tt := range tests {
		got := string(enc.Append(nil, &v, tt.at))
		if !strings.Contains(got, tt.want) || strings.Contains(got, tt.forbid) || !json.Valid([]byte(got)) {
			t.Errorf("%s: %s; want %s, without %s", tt.name, got, tt.want, tt.forbid)
		}
	}
}

type omitView struct {
	ID    string            `json:"id"`
	Empty []string          `json:"empty,omitempty"`
	Nil   []string          `json:"nil,omitnil"`
	Map   map[string]string `json:"map,omitempty"`
	Count int64             `json:"count,omitempty"`
}

func TestViewLeavesOut(t *testing.T) {
	enc := NewEncoder[omitView]()
	tests := []struct {
		name, want string
		view       omitView
	}{
		{"nil", `{"id":""}`, omitView{}},
		{"empty, not nil", `{"id":"","nil":[]}`, omitView{Empty: []string{}, Nil: []string{}, Map: map[string]string{}}},
		{"full", `{"id":"","empty":["a"],"nil":["b"],"map":{"c":"d"},"count":1}`,
			omitView{Empty: []string{"a"}, Nil: []string{"b"}, Map: map[string]string{"c": "d"}, Count: 1}},
	}
	for _, tt := range tests {
		if got := string(enc.Append(nil, &tt.view, At{Version: MinVersion})); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

// Every version, view and set of flags at once, from several goroutines: a plan must hold
// just the fields that its tags name.
func TestViewPlansAgreeWithTags(t *testing.T) {
	enc := NewEncoder[testView]("admin")
	v := testView{Inner: []testInner{{}}, Raw: Raw("1")}
	for range 4 {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			for version := MinVersion; version <= MaxVersion; version++ {
				for _, view := range []string{"", "show", "update", "detail"} {
					for mask := range ShowMask(2) {
						got := string(enc.Append(nil, &v, At{version, view, mask}))
						update := view == "update"
						for key, want := range map[string]bool{
							`"old":`: version <= 46, `"locked":`: version >= 9, `"host":`: mask == 1,
							`"task":`: !update || version >= 75, `"b":`: version >= 3,
							`"groups":`: version >= 71 && (update || view == "show"), `"fault":`: false,
						} {
							if strings.Contains(got, key) != want {
								t.Fatalf("%s %q %d: %s %t, want %t", version, view, mask, key, !want, want)
							}
						}
					}
				}
			}
		})
	}
}

func TestViewRefusesBadTags(t *testing.T) {
	for name, f := range map[string]func(){
		"version": func() {
			NewEncoder[struct {
				A int `json:"a" since:"3.1"`
			}]()
		},
		"flag": func() {
			NewEncoder[struct {
				A int `json:"a" show:"nobody"`
			}]()
		},
		"order": func() {
			NewEncoder[struct {
				A int `json:"a" since:"2.9" until:"2.8"`
			}]()
		},
		"never nil": func() {
			NewEncoder[struct {
				A int `json:"a,omitnil"`
			}]()
		},
		"nested": func() {
			NewEncoder[struct {
				A []struct{ B uint8 } `json:"a"`
			}]()
		},
		"no name": func() { NewEncoder[struct{ A int }]() },
		"wrong type": func() {
			NewEncoder[struct {
				A chan int `json:"a"`
			}]()
		},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: the encoder was made", name)
				}
			}()
			f()
		}()
	}
}

func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "a\"b\\c", "\x00\x1f\n", "\xff", "é€😀", "</script>",
		"eight by", "sixteen bytes at", "quote in\"second", "seven\\ back", "12345678\x1f", "1234567\x7f\x80"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var got string
		err := json.Unmarshal(AppendString(nil, s), &got)
		if want := string([]rune(s)); err != nil || got != want {
			t.Errorf("%q became %q, %v", s, got, err)
		}
	})
}

// benchView has the fields and sizes of a server in a detail list.
type benchView struct {
	ID      string            `json:"id"`
	Name    string            `json:"name"`
	Status  string            `json:"status"`
	Tenant  string            `json:"tenant_id"`
	User    string            `json:"user_id"`
	HostID  string            `json:"hostId"`
	Created string            `json:"created"`
	Updated string            `json:"updated"`
	Meta    map[string]string `json:"metadata"`
	Links   []Link            `json:"links"`
	Flavor  benchFlavor       `json:"flavor"`
	Task    *string           `json:"OS-EXT-STS:task_state"`
	State   string            `json:"OS-EXT-STS:vm_state"`
	Power   int               `json:"OS-EXT-STS:power_state"`
	Zone    string            `json:"OS-EXT-AZ:availability_zone"`
	Key     *string           `json:"key_name"`
	Locked  bool              `json:"locked" since:"2.9"`
	Tags    []string          `json:"tags" since:"2.26"`
	Desc    *string           `json:"description" since:"2.19"`
	Groups  []Link            `json:"security_groups"`
}

type benchFlavor struct {
	VCPUs int    `json:"vcpus"`
	RAM   int    `json:"ram"`
	Disk  int    `json:"disk"`
	Name  string `json:"original_name"`
}

func benchList() []benchView {
	list := make([]benchView, 1000)
	for i := range list {
		list[i] = benchView{ID: fmt.Sprintf("5ec0de00-0000-4000-8000-%012d", i), Name: fmt.Sprintf("server-%d", i), Status: "ACTIVE",
			Tenant: "7f0c5e6a9d3b4c1e8a2f6b5d4c3e2a10", User: "1a2b3c4d5e6f708192a3b4c5d6e7f809", HostID: strings.Repeat("ab", 28),
			Created: "2026-01-01T00:00:00Z", Updated: "2026-01-01T00:00:05Z", Meta: map[string]string{"role": "web", "tier": "front"},
			Links:  []Link{{Rel: "self", Href: "http://127.0.0.1:8774/v2.1/servers/x"}, {Rel: "bookmark", Href: "http://127.0.0.1:8774/servers/x"}},
			Flavor: benchFlavor{1, 512, 1, "m1.tiny"}, State: "active", Power: 1, Zone: "nova", Tags: []string{"a", "b"},
			Groups: []Link{{Rel: "default", Href: "x"}}}
	}
	return list
}

type benchPlain struct {
	Servers []benchView `json:"servers"`
}

func BenchmarkViewOf1000(b *testing.B) {
	list, enc, at := benchList(), NewEncoder[benchList1](), At{Version: MaxVersion}
	doc := benchList1{list}
	buf := make([]byte, 0, 2<<20)
	b.ReportAllocs()
	for b.Loop() {
		buf = enc.Append(buf[:0], &doc, at)
	}
	b.SetBytes(int64(len(buf)))
}

type benchList1 struct {
	Servers []benchView `json:"servers"`
}

func BenchmarkEncodingJSONOf1000(b *testing.B) {
	doc := benchPlain{benchList()}
	b.ReportAllocs()
	for b.Loop() {
		out, err := json.Marshal(&doc)
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(len(out)))
	}
}

func TestViewSaysWhatEncodingJSONSays(t *testing.T) {
	doc := benchList1{benchList()[:3]}
	doc.Servers[0].Tags, doc.Servers[0].Groups[0].Type = []string{}, "text/html"
	plain, err := json.Marshal(&doc)
	if err != nil {
		t.Fatal(err)
	}
	var want, got any
	if json.Unmarshal(plain, &want) != nil || json.Unmarshal(NewEncoder[benchList1]().Append(nil, &doc, At{Version: MaxVersion}), &got) != nil {
		t.Fatal("not JSON")
	}
	if !reflect.DeepEqual(want, got) {
		t.Errorf("encoding/json: %v\nview: %v", want, got)
	}
}
