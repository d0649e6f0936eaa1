package work

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

const mark = "MarkedSecret"

func secretArgs() Args {
	g := Guest{UUID: "u", AdminPass: mark + "1", Image: Image{ID: "i", Source: &Transfer{ImageID: "i", URL: "http://x", Ticket: mark + "2"}}}
	old := g
	old.Image.Source = &Transfer{Ticket: mark + "5"}
	return Args{Guest: g, Old: &old, Upload: &Transfer{ImageID: "j", URL: "http://y", Ticket: mark + "3"}, Password: mark + "4"}
}

func TestSecretsOfArgs(t *testing.T) {
	whole, args := secretArgs(), secretArgs()
	source, upload, old := args.Guest.Image.Source, args.Upload, args.Old
	s := args.TakeSecrets()
	if s != (Secrets{AdminPass: mark + "1", ReadTicket: mark + "2", WriteTicket: mark + "3", Password: mark + "4"}) {
		t.Errorf("taken: %+v", s)
	}
	raw, err := json.Marshal(args)
	if err != nil || strings.Contains(string(raw), mark) || !strings.Contains(string(raw), "http://x") || !strings.Contains(string(raw), "http://y") {
		t.Errorf("left: %s, %v", raw, err)
	}
	if source.Ticket == "" || upload.Ticket == "" || old.AdminPass == "" {
		t.Error("what others hold was changed")
	}
	if again := args.TakeSecrets(); again.Encode() != nil {
		t.Errorf("there was more: %+v", again)
	}
	var back Args
	err = json.Unmarshal(raw, &back)
	if err != nil {
		t.Fatal(err)
	}
	var read Secrets
	err = json.Unmarshal(s.Encode(), &read)
	if err != nil {
		t.Fatal(err)
	}
	back.GiveSecrets(read)
	whole.Old.AdminPass, whole.Old.Image.Source.Ticket = "", "" // of no use
	if !reflect.DeepEqual(back, whole) {
		t.Errorf("given back: %+v", back)
	}
	bare := Args{}
	bare.GiveSecrets(s)
	if bare.Guest.Image.Source != nil || bare.Upload != nil {
		t.Errorf("%+v", bare)
	}
}

// A field whose name says that it is secret is one that Secrets knows.
func TestEverySecretFieldIsTaken(t *testing.T) {
	var walk func(v reflect.Value, path string, seen map[string]bool)
	walk = func(v reflect.Value, path string, seen map[string]bool) {
		switch v.Kind() {
		case reflect.Pointer:
			if v.IsNil() && v.Type().Elem().Kind() == reflect.Struct {
				v.Set(reflect.New(v.Type().Elem()))
			}
			walk(v.Elem(), path, seen)
		case reflect.Struct:
			for i := range v.NumField() {
				name := v.Type().Field(i).Name
				f := v.Field(i)
				if f.Kind() == reflect.String {
					lower := strings.ToLower(name)
					for _, word := range []string{"pass", "ticket", "secret", "token", "private"} {
						if strings.Contains(lower, word) {
							f.SetString(mark + path + name)
							seen[path+name] = true
						}
					}
					continue
				}
				walk(f, path+name+".", seen)
			}
		}
	}
	var args Args
	seen := map[string]bool{}
	walk(reflect.ValueOf(&args), "", seen)
	if len(seen) < 5 {
		t.Fatalf("only %v", seen)
	}
	args.TakeSecrets()
	raw, err := json.Marshal(args)
	if err != nil || strings.Contains(string(raw), mark) {
		t.Errorf("%s, %v", raw, err)
	}
}

func TestHide(t *testing.T) {
	args := secretArgs()
	s := args.TakeSecrets()
	said := s.Hide("no entry with " + mark + "3, password " + mark + "4 for " + mark + "1")
	if strings.Contains(said, mark) || !strings.Contains(said, "no entry with [secret], password") {
		t.Error(said)
	}
	if said := (Secrets{Password: "an"}).Hide("an error can be read"); said != "an error can be read" {
		t.Error(said)
	}
}
