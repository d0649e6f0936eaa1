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
		// One with another key, or none, starts and says what is wrong.
		_, err = hostKey(other, "h")
		if err != nil {
			t.Fatal(err)
		}
		for _, dir := range []string{other, empty} {
			if f := doctor(dir); f.ok || !strings.Contains(f.mend, "copy secrets.key") {
				t.Errorf("the doctor says %+v", f)
			}
			said := logged(t)
			_, err = openKey(ctx, db, dir)
			if err != nil || !strings.Contains(said.String(), otherKey) || !strings.Contains(said.String(), "copy secrets.key") {
				t.Errorf("%v, said %s", err, said)
			}
		}
		said := logged(t)
		_, err = openKey(ctx, db, shared)
		if err != nil || said.Len() > 0 {
			t.Errorf("%v, said %s", err, said)
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
	root := rootCommand()
	root.SetArgs([]string{"db", "reset-key", "--db", path})
	var out bytes.Buffer
	root.SetOut(&out)
	err = root.Execute()
	if err != nil {
		t.Fatal(err)
	}
	said := logged(t)
	_, err = openKey(t.Context(), db, dir)
	if err != nil || said.Len() > 0 {
		t.Errorf("after the reset: %v, %s", err, said)
	}
}
