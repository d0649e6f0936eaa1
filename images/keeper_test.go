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
