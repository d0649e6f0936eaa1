package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"kilonova/schema"
	"kilonova/schema/schematest"
)

func TestOneKeyForOneDatabase(t *testing.T) {
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		ctx := t.Context()
		shared, other, empty := t.TempDir(), t.TempDir(), t.TempDir()
		doctor := func(dir string) finding { return checkKey(ctx, db, dir) }
		if f := doctor(empty); !f.ok {
			t.Errorf("a new database: %+v", f)
		}
		// All processes on one folder start, at once and later.
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				_, err := openKey(ctx, db, shared)
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		_, err := openKey(ctx, db, shared)
		if err != nil {
			t.Error(err)
		}
		// One with another key says what is wrong, and one without makes none.
		_, err = hostKey(other, "h")
		if err != nil {
			t.Fatal(err)
		}
		for dir, said := range map[string]string{other: "is not the one that the database was written with", empty: "secrets.key is missing"} {
			_, err = openKey(ctx, db, dir)
			if err == nil || !strings.Contains(err.Error(), said) || !strings.Contains(err.Error(), "copy secrets.key") {
				t.Errorf("refused with %v", err)
			}
			if f := doctor(dir); f.ok || !strings.Contains(f.mend, "copy secrets.key") {
				t.Errorf("the doctor says %+v", f)
			}
		}
		if left, _ := os.ReadDir(empty); len(left) > 0 {
			t.Errorf("a key was made: %v", left)
		}
		err = os.WriteFile(keyFile(empty), []byte("nonsense"), 0o600)
		if err != nil {
			t.Fatal(err)
		}
		_, err = openKey(ctx, db, empty)
		if f := doctor(empty); err == nil || f.ok || f.fine {
			t.Errorf("a broken file: %v, %+v", err, f)
		}
		if f := doctor(shared); !f.ok {
			t.Errorf("the doctor says %+v", f)
		}
	})
}

func TestResetKey(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "kilonova.db")
	db, err := openDB(t.Context(), "", dir)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	_, err = openKey(t.Context(), db, dir)
	if err == nil {
		err = os.Remove(keyFile(dir))
	}
	if err != nil {
		t.Fatal(err)
	}
	_, err = openKey(t.Context(), db, dir)
	if err == nil {
		t.Fatal("a key was made anew")
	}
	root := rootCommand()
	root.SetArgs([]string{"db", "reset-key", "--db", path})
	var out bytes.Buffer
	root.SetOut(&out)
	err = root.Execute()
	if err != nil {
		t.Fatal(err)
	}
	_, err = openKey(t.Context(), db, dir)
	if err != nil {
		t.Errorf("after the reset: %v", err)
	}
}
