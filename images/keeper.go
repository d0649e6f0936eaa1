package images

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"kilonova/compat"
	"kilonova/schema"
)

const (
	selectStale = `SELECT ` + columns + ` FROM images i WHERE i.upload > '' AND i.beat < ? ORDER BY i.id LIMIT 100`
	freeImport  = `UPDATE images SET upload = '' WHERE id = ? AND upload = ? AND status = 'importing' AND deleted_at = 0`
)

// sweep ends uploads whose process is gone and removes files that no row names. A process
// that was alone with the data folder when it started knows that whatever began before it
// is over; others wait until an upload has been silent for long.
func (s *Service) sweep(ctx context.Context) error {
	before := s.Clock.Now() - schema.Micros(staleAfter.Microseconds())
	if s.alone && s.started > before {
		before = s.started
	}
	for {
		var stale []*record
		err := s.DB.SelectContext(ctx, &stale, selectStale, before)
		if err != nil {
			return fmt.Errorf("look for dead uploads: %w", err)
		}
		for _, rec := range stale {
			switch rec.Status {
			case Deleted:
				err = s.purge(ctx, rec.Key)
			case Importing:
				_, err = s.DB.ExecContext(ctx, freeImport, rec.Key, rec.Upload)
			default:
				s.Log.InfoContext(ctx, "image upload broke off", "image", rec.ID)
				err = s.fail(ctx, rec.Key, rec.Upload, compat.Unavailable("The service was restarted."))
			}
			if err != nil {
				return err
			}
		}
		if len(stale) < 100 {
			break
		}
	}
	return s.sweepFiles(ctx)
}

// sweepFiles removes what the data folder holds and no row names. Names are read before the
// rows: a row names its upload before the file is made, so no new file is taken for an old.
func (s *Service) sweepFiles(ctx context.Context) error {
	entries, err := os.ReadDir(s.Dir)
	if err != nil {
		return fmt.Errorf("read the image folder: %w", err)
	}
	byID := map[string][]string{}
	var ids []string
	for _, e := range entries {
		id, _, ok := strings.Cut(e.Name(), ".")
		if !ok || len(id) != 36 || e.IsDir() {
			continue // not ours
		}
		if byID[id] == nil {
			ids = append(ids, id)
		}
		byID[id] = append(byID[id], e.Name())
	}
	const batch = 500
	for len(ids) > 0 {
		n := min(batch, len(ids))
		var rows []struct {
			ID       string `db:"uuid"`
			DataFile string `db:"data_file"`
			Staged   string `db:"staged_file"`
			Upload   string `db:"upload"`
		}
		err = selectIn(ctx, s.DB, &rows, `SELECT uuid, data_file, staged_file, upload FROM images WHERE uuid IN (?)`, ids[:n])
		if err != nil {
			return fmt.Errorf("look for orphaned files: %w", err)
		}
		keep := map[string]bool{}
		for _, row := range rows {
			keep[row.DataFile], keep[row.Staged] = true, true
			if row.Upload != "" {
				keep[row.ID+"."+row.Upload], keep[row.ID+"."+row.Upload+partSuffix] = true, true
			}
		}
		for _, id := range ids[:n] {
			for _, name := range byID[id] {
				if keep[name] {
					continue
				}
				s.Log.InfoContext(ctx, "removing an orphaned image file", "image", id)
				err = s.unlink(name)
				if err != nil {
					return fmt.Errorf("remove orphaned file: %w", err)
				}
			}
		}
		ids = ids[n:]
	}
	return nil
}

const selectImport = `
SELECT ` + columns + ` FROM images i
WHERE i.status = 'importing' AND i.upload = '' AND i.deleted_at = 0 ORDER BY i.id LIMIT 1`

// importNext finishes one import that nobody works on; it is false when there is none.
func (s *Service) importNext(ctx context.Context) (bool, error) {
	rec := &record{}
	err := s.DB.GetContext(ctx, rec, selectImport)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for imports: %w", err)
	}
	u, err := s.begin(ctx, rec, Importing, Importing)
	if compat.IsConflict(err) {
		return true, nil // another process has it
	}
	if err != nil {
		return false, err
	}
	err = u.importStaged(ctx)
	if err == nil {
		return true, nil
	}
	tidy, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	var f *compat.Fault
	if errors.As(err, &f) {
		s.Log.InfoContext(ctx, "image import refused", "image", rec.ID, "err", err)
		return true, s.fail(tidy, rec.Key, u.token, err)
	}
	// Not the image's fault: leave it for a later try.
	_, free := s.DB.ExecContext(tidy, freeImport, rec.Key, u.token)
	return false, errors.Join(fmt.Errorf("import image %s: %w", rec.ID, err), free)
}

// importStaged hashes and inspects the staged file and makes it the image's data. It may
// run any number of times until it has succeeded.
func (u *upload) importStaged(ctx context.Context) error {
	path := filepath.Join(u.s.Dir, u.rec.Staged)
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return compat.NotFound("The staged data of image %s is gone.", u.rec.ID)
	}
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // it was only read
	sum, err := u.copyTo(ctx, io.Discard, &stagedReader{ctx, file, u}, func(head []byte) error {
		return u.checkHead(head)
	})
	if err != nil {
		return err
	}
	virtual, err := u.inspect(path)
	if err != nil {
		return err
	}
	return u.activate(ctx, u.rec.Staged, Importing, sum, virtual)
}

// stagedReader keeps an import alive while it reads, and ends it with its context.
type stagedReader struct {
	ctx  context.Context
	file io.Reader
	u    *upload
}

func (r *stagedReader) Read(b []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, r.ctx.Err()
	}
	err := r.u.beat(r.ctx)
	if err != nil {
		return 0, err
	}
	return r.file.Read(b)
}
