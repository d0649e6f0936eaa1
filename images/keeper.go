package images

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"kilonova/compat"
	"kilonova/schema"
)

var selectStale = `SELECT ` + columns + ` FROM images i WHERE i.upload > '' AND i.beat < ? AND i.id > ? ORDER BY i.id LIMIT ` + strconv.Itoa(schema.PageSize)

const freeImport = `UPDATE images SET upload = '' WHERE id = ? AND upload = ? AND status = 'importing' AND deleted_at = 0`

// sweep ends uploads whose process is gone and removes files that no row names. What cannot
// be ended or removed keeps nothing else from it.
func (s *Service) sweep(ctx context.Context) error {
	return schema.Tasks(ctx, s.endUploads, s.sweepFiles)
}

// endUploads ends uploads whose process is gone. One that was alone with the data folder
// when it started knows that whatever began before it is over; others wait until an upload
// has been silent for long.
func (s *Service) endUploads(ctx context.Context) error {
	before := s.Clock.Now() - schema.Micros(staleAfter.Microseconds())
	if s.alone && s.started > before {
		before = s.started
	}
	page := func(ctx context.Context, after int64) ([]record, error) {
		var stale []record
		err := s.DB.SelectContext(ctx, &stale, selectStale, before, after)
		if err != nil {
			return nil, fmt.Errorf("look for dead uploads: %w", err)
		}
		return stale, nil
	}
	_, err := schema.Sweep(ctx, page, func(rec *record) int64 { return rec.Key }, func(ctx context.Context, rec *record) error {
		err := s.endUpload(ctx, rec)
		if err != nil {
			return fmt.Errorf("end the upload of image %s: %w", rec.ID, err)
		}
		return nil
	})
	return err
}

func (s *Service) endUpload(ctx context.Context, rec *record) error {
	switch rec.Status {
	case Deleted:
		return s.purge(ctx, rec.Key)
	case Importing:
		_, err := s.DB.ExecContext(ctx, freeImport, rec.Key, rec.Upload)
		return err
	}
	s.Log.InfoContext(ctx, "image upload broke off", "image", rec.ID)
	return s.fail(ctx, rec.Key, rec.Upload, compat.Unavailable("The service was restarted."))
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
	var stay []error
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
				if err != nil && len(stay) < toldFiles {
					stay = append(stay, fmt.Errorf("remove orphaned file: %w", err))
				}
			}
		}
		ids = ids[n:]
	}
	return errors.Join(stay...)
}

// toldFiles is how many of the files that cannot be removed are told of.
const toldFiles = 3

const selectImport = `
SELECT ` + columns + ` FROM images i
WHERE i.status = 'importing' AND i.upload = '' AND i.deleted_at = 0 AND i.id > ? ORDER BY i.id LIMIT 1`

// importAll finishes the imports that nobody works on, in their order. One that cannot be
// finished now stays for the next time, and keeps none behind it from its turn.
func (s *Service) importAll(ctx context.Context) error {
	var problems []error
	for after := int64(0); ctx.Err() == nil; {
		rec := &record{}
		err := s.DB.GetContext(ctx, rec, selectImport, after)
		if errors.Is(err, sql.ErrNoRows) {
			break
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("look for imports: %w", err))
			break
		}
		after = rec.Key
		err = schema.Guard(ctx, func(ctx context.Context) error { return s.importOne(ctx, rec) })
		if err != nil && len(problems) < toldFiles {
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}

func (s *Service) importOne(ctx context.Context, rec *record) error {
	u, err := s.begin(ctx, rec, Importing, Importing)
	if compat.IsConflict(err) {
		return nil // another process has it
	}
	if err != nil {
		return err
	}
	err = schema.Guard(ctx, u.importStaged)
	if err == nil {
		return nil
	}
	tidy, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	var f *compat.Fault
	if errors.As(err, &f) {
		s.Log.InfoContext(ctx, "image import refused", "image", rec.ID, "err", err)
		return s.fail(tidy, rec.Key, u.token, err)
	}
	// Not the image's fault: leave it for a later try.
	_, free := s.DB.ExecContext(tidy, freeImport, rec.Key, u.token)
	return errors.Join(fmt.Errorf("import image %s: %w", rec.ID, err), free)
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
