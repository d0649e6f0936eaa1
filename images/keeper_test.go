package images

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kilonova/schema"
)

// TestPoisonImagesStopNobody: rows that cannot be tidied, more than a page of them, and
// imports that cannot go on keep nothing behind them from its turn.
func TestPoisonImagesStopNobody(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		ctx := context.Background()
		run := func(stmt string, args ...any) {
			t.Helper()
			_, err := c.db.Exec(stmt, args...)
			if err != nil {
				t.Fatal(err)
			}
		}
		const poison = schema.PageSize + 3
		for i := range poison {
			c.must(201, alice, "POST", "/v2/images", fmt.Sprintf(`{"name": "poison-%d", "disk_format": "raw", "container_format": "bare"}`, i))
		}
		dead := c.image(alice, "raw")
		run("UPDATE images SET status = 'saving', upload = 'gone', beat = 1")
		run(map[schema.Dialect]string{
			schema.SQLite: `CREATE TRIGGER poison BEFORE UPDATE ON images WHEN OLD.name LIKE 'poison%' BEGIN SELECT RAISE(ABORT, 'poison'); END`,
			schema.MySQL: `CREATE TRIGGER poison BEFORE UPDATE ON images FOR EACH ROW BEGIN
				IF OLD.name LIKE 'poison%' THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'poison'; END IF; END`,
		}[c.db.Dialect])
		orphan := filepath.Join(c.dir, "ffffffff-0000-4000-8000-000000000000.orphan")
		err := os.WriteFile(orphan, nil, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		err = c.s.sweep(ctx)
		if err == nil || !strings.Contains(err.Error(), "poison") || len(err.Error()) > 4096 {
			t.Errorf("the sweep says %.200v", err)
		}
		if st := c.status(dead); st != Queued {
			t.Errorf("an upload behind those is %s", st)
		}
		if _, err := os.Stat(orphan); err == nil {
			t.Error("a file behind those stayed")
		}
		var ids []string
		for range 2 {
			id := c.image(alice, "raw")
			c.must(204, alice, "PUT", "/v2/images/"+id+"/stage", "data")
			c.must(202, alice, "POST", "/v2/images/"+id+"/import", `{"method": {"name": "glance-direct"}}`)
			ids = append(ids, id)
		}
		var staged string
		err = c.db.Get(&staged, "SELECT staged_file FROM images WHERE uuid = ?", ids[0])
		if err == nil {
			err = os.Remove(filepath.Join(c.dir, staged))
		}
		if err == nil {
			err = os.Mkdir(filepath.Join(c.dir, staged), 0o700) // it is there and cannot be read
		}
		if err != nil {
			t.Fatal(err)
		}
		err = c.s.importAll(ctx)
		if err == nil || !strings.Contains(err.Error(), ids[0]) {
			t.Errorf("the imports say %v", err)
		}
		if one, two := c.status(ids[0]), c.status(ids[1]); one != Importing || two != Active {
			t.Errorf("the import that cannot go on is %s, that behind it %s", one, two)
		}
	})
}

// TestDataThatCannotBeRemovedStopsNobody: a deleted image whose data stays on the disk, and a
// stray file that does, are tried again later, and those behind them go.
func TestDataThatCannotBeRemovedStopsNobody(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		stuck, behind := c.active(alice), c.active(alice)
		_, held := c.usage("p1")
		data := map[string]string{}
		for _, id := range []string{stuck, behind} {
			var name string
			err := c.db.Get(&name, "SELECT data_file FROM images WHERE uuid = ?", id)
			if err != nil {
				t.Fatal(err)
			}
			data[id] = filepath.Join(c.dir, name)
		}
		// A folder with something in it stands for what cannot be removed.
		block := func(path string) {
			t.Helper()
			err := os.RemoveAll(path)
			if err == nil {
				err = os.MkdirAll(filepath.Join(path, "x"), 0o700)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		block(data[stuck])
		for _, id := range []string{stuck, behind} {
			_, err := c.db.Exec("UPDATE images SET status = 'deleted', deleted_at = 1, upload = 'purge', beat = 1 WHERE uuid = ?", id)
			if err != nil {
				t.Fatal(err)
			}
		}
		err := c.s.sweep(context.Background())
		if err == nil || !strings.Contains(err.Error(), stuck) {
			t.Errorf("the sweep says %v", err)
		}
		if _, err := os.Stat(data[behind]); err == nil {
			t.Error("the data behind it stayed")
		}
		if _, left := c.usage("p1"); left != held/2 {
			t.Errorf("%d of %d bytes are held: what is on the disk is, and no more", left, held)
		}
		err = os.RemoveAll(data[stuck])
		if err != nil {
			t.Fatal(err)
		}
		c.keep()
		if _, left := c.usage("p1"); left != 0 {
			t.Errorf("%d bytes are held when all is gone", left)
		}
	})
}
