package images

import (
	"context"
	"crypto/md5" //nolint:gosec // the API promises an md5 checksum; sha512 is the one to trust
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"kilonova/compat"
	"kilonova/room"
	"kilonova/schema"
)

const (
	blockSize   = 1 << 20
	chargeChunk = 16 << 20 // bytes charged at a time when the length is not known
	partSuffix  = ".part"
)

// errGone says that the image was deleted, or its upload ended by the keeper.
var errGone = &compat.Fault{Code: http.StatusGone, Message: "The image was deleted or changed while its data was being transferred."}

// upload is one writer of an image's bytes: the row names it until it ends.
type upload struct {
	s       *Service
	rec     *record
	token   string
	charged int64
	written int64
	beatAt  time.Time
	named   bool // the row may name the file
}

const beginUpload = `
UPDATE images SET status = ?, upload = ?, beat = ?, failure = '', updated_at = ?, revision = revision + 1
WHERE id = ? AND status = ? AND revision = ? AND upload = '' AND deleted_at = 0`

// begin makes the caller the one writer of the image, which must be in the state from and
// as it was read: a format that was changed since would not be the one inspected for. It
// returns a 409 Fault when the image is another by now, or has a writer.
func (s *Service) begin(ctx context.Context, rec *record, from, to string) (*upload, error) {
	u := &upload{s: s, rec: rec, token: strings.ReplaceAll(uuid.NewString(), "-", ""), beatAt: time.Now(), charged: rec.Charged}
	now := s.Clock.Now()
	ok, err := schema.Changed(s.DB.ExecContext(ctx, beginUpload, to, u.token, now, now, rec.Key, from, rec.Revision))
	if err != nil {
		return nil, fmt.Errorf("begin upload of image %s: %w", rec.ID, err)
	}
	if !ok {
		return nil, compat.Conflict("Image status transition from %s to %s is not allowed", rec.Status, to)
	}
	return u, nil
}

// name is the file that the upload becomes; until it is whole the name has partSuffix.
func (u *upload) name() string { return u.rec.ID + "." + u.token }

func (u *upload) path() string { return filepath.Join(u.s.Dir, u.name()) }

const beatUpload = `UPDATE images SET beat = ? WHERE id = ? AND upload = ? AND deleted_at = 0`

// beat says now and then that the upload goes on; it is errGone when it may not.
func (u *upload) beat(ctx context.Context) error {
	if time.Since(u.beatAt) < beatEvery {
		return nil
	}
	u.beatAt = time.Now()
	ok, err := schema.Changed(u.s.DB.ExecContext(ctx, beatUpload, u.s.Clock.Now(), u.rec.Key, u.token))
	if err != nil {
		return fmt.Errorf("keep upload of image %s: %w", u.rec.ID, err)
	}
	if !ok {
		return errGone
	}
	return nil
}

const chargeUpload = `
UPDATE images SET charged = charged + ?, beat = ? WHERE id = ? AND upload = ? AND deleted_at = 0`

// charge holds n more bytes of the owner's quota.
func (u *upload) charge(ctx context.Context, n int64) error {
	err := u.s.DB.Tx(ctx, func(tx *schema.Tx) error {
		ok, err := schema.Changed(tx.ExecContext(ctx, chargeUpload, n, u.s.Clock.Now(), u.rec.Key, u.token))
		if err != nil {
			return err
		}
		if !ok {
			return errGone
		}
		return takeBytes(ctx, tx, u.rec.Owner, n, u.s.ProjectBytes)
	})
	if err == nil {
		u.charged += n
	}
	return err
}

// chargeFor makes sure that the next n bytes are paid for before they are written.
func (u *upload) chargeFor(ctx context.Context, n int64) error {
	need := u.written + n - u.charged
	if need <= 0 {
		return nil
	}
	err := u.charge(ctx, max(need, chargeChunk))
	var f *compat.Fault
	if errors.As(err, &f) && f.Code == http.StatusRequestEntityTooLarge {
		return u.charge(ctx, need) // near the limit each byte counts
	}
	return err
}

// sums are what is known of bytes that have gone by.
type sums struct {
	size        int64
	md5, sha512 string
}

// copyTo writes body into file. The content is never held in memory: hashing a block goes
// on beside writing it and reading the next one. check sees the first block.
func (u *upload) copyTo(ctx context.Context, file io.Writer, body io.Reader, check func(head []byte) error) (sums, error) {
	m, h := md5.New(), sha512.New() //nolint:gosec // see the import
	var hashing sync.WaitGroup
	defer hashing.Wait()
	block, other := make([]byte, blockSize), make([]byte, blockSize)
	for first := true; ; first = false {
		n, last, err := fill(body, block)
		if err != nil {
			return sums{}, err
		}
		b := block[:n]
		if first && check != nil {
			err = check(b)
			if err != nil {
				return sums{}, err
			}
		}
		if u.written+int64(n) > u.s.MaxImageSize {
			return sums{}, compat.TooLarge("Image exceeds the maximum size of %d bytes.", u.s.MaxImageSize)
		}
		err = u.chargeFor(ctx, int64(n))
		if err != nil {
			return sums{}, err
		}
		hashing.Wait() // the other block
		hashing.Add(2)
		go func() { defer hashing.Done(); m.Write(b) }()
		go func() { defer hashing.Done(); h.Write(b) }()
		_, err = file.Write(b)
		if err != nil {
			return sums{}, mediaFull(fmt.Errorf("write image data: %w", err))
		}
		u.written += int64(n)
		if last {
			hashing.Wait()
			return sums{u.written, hex.EncodeToString(m.Sum(nil)), hex.EncodeToString(h.Sum(nil))}, nil
		}
		block, other = other, block
	}
}

// fill reads until block is full or the body ends; last says that it has ended. Unlike
// io.ReadFull it does not take a connection that broke off for an end.
func fill(body io.Reader, block []byte) (n int, last bool, err error) {
	for n < len(block) {
		k, err := body.Read(block[n:])
		n += k
		if err == io.EOF { //nolint:errorlint // a wrapped EOF is no end
			return n, true, nil
		}
		if err != nil {
			return n, false, err
		}
	}
	return n, false, nil
}

// write makes the upload's file of body, whole and on the disk under its final name.
func (u *upload) write(ctx context.Context, body io.Reader, check func([]byte) error) (sums, error) {
	file, err := os.OpenFile(u.path()+partSuffix, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return sums{}, mediaFull(fmt.Errorf("make image file: %w", err))
	}
	sum, err := u.copyTo(ctx, u.s.Floor.Writer(file), body, check)
	if err == nil {
		err = mediaFull(file.Sync())
	}
	err = errors.Join(err, file.Close())
	if err == nil {
		err = os.Rename(u.path()+partSuffix, u.path())
	}
	return sum, err
}

// drop removes what there is of the upload's data, unless a row may name it. It goes first
// when an upload fails: what is then written down needs room, too.
func (u *upload) drop() error {
	if u.named {
		return nil
	}
	return u.s.unlink(u.name()+partSuffix, u.name())
}

// mediaFull is err, or Glance's words for it where the disk is full.
func mediaFull(err error) error {
	if !room.Full(err) {
		return err
	}
	return &compat.Fault{Code: http.StatusRequestEntityTooLarge,
		Message: "Image storage media is full: There is not enough disk space on the image storage media.", Err: err}
}

const finishUpload = `
UPDATE images SET status = 'active', data_file = ?, staged_file = '', upload = '', charged = ?, size = ?,
 virtual_size = ?, checksum = ?, hash_value = ?, updated_at = ?, revision = revision + 1
WHERE id = ? AND upload = ? AND status = ? AND deleted_at = 0`

const finishStage = `
UPDATE images SET staged_file = ?, upload = '', charged = ?, updated_at = ?, revision = revision + 1
WHERE id = ? AND upload = ? AND status = 'uploading' AND deleted_at = 0`

// activate makes the image active with the file's bytes, in one step.
func (u *upload) activate(ctx context.Context, file, from string, sum sums, virtual int64) error {
	return u.finish(ctx, sum.size, func(tx *schema.Tx) (bool, error) {
		return schema.Changed(tx.ExecContext(ctx, finishUpload, file, sum.size, sum.size, virtual,
			sum.md5, sum.sha512, u.s.Clock.Now(), u.rec.Key, u.token, from))
	})
}

// staged ends the upload of bytes that are yet to be imported.
func (u *upload) staged(ctx context.Context, size int64) error {
	return u.finish(ctx, size, func(tx *schema.Tx) (bool, error) {
		return schema.Changed(tx.ExecContext(ctx, finishStage, u.name(), size, u.s.Clock.Now(), u.rec.Key, u.token))
	})
}

func (u *upload) finish(ctx context.Context, size int64, step func(*schema.Tx) (bool, error)) error {
	u.named = true
	err := u.s.DB.Tx(ctx, func(tx *schema.Tx) error {
		ok, err := step(tx)
		if err != nil {
			return err
		}
		if !ok {
			return errGone
		}
		return takeBytes(ctx, tx, u.rec.Owner, size-u.charged, unlimited)
	})
	if !errors.Is(err, schema.ErrUnknownOutcome) {
		return err
	}
	// The answer to the commit was lost: the row tells whether it happened.
	var token string
	look := u.s.DB.GetContext(ctx, &token, `SELECT upload FROM images WHERE id = ? AND deleted_at = 0`, u.rec.Key)
	if look == nil && token != u.token {
		return nil
	}
	return err
}

const failUpload = `
UPDATE images SET status = 'queued', upload = '', staged_file = '', charged = 0, failure = ?, updated_at = ?,
 revision = revision + 1
WHERE id = ? AND upload = ? AND data_file = '' AND deleted_at = 0`

// fail ends an upload or import without a result: the image is queued again, its bytes are
// removed and then given back. When the image was deleted meanwhile, this frees its bytes.
func (s *Service) fail(ctx context.Context, key int64, token string, cause error) error {
	var files []string
	gone := false
	err := s.DB.Tx(ctx, func(tx *schema.Tx) error {
		rec, err := raw(ctx, tx, key)
		if err != nil {
			return err
		}
		gone = rec.Status == Deleted
		files = nil
		if gone || rec.Upload != token {
			return nil
		}
		ok, err := schema.Changed(tx.ExecContext(ctx, failUpload, reason(cause), s.Clock.Now(), key, token))
		if err != nil || !ok {
			return err
		}
		files = []string{rec.ID + "." + token + partSuffix, rec.ID + "." + token, rec.Staged}
		// Nothing else can charge or name these files once this has committed.
		return takeBytes(ctx, tx, rec.Owner, -rec.Charged, unlimited)
	})
	if err != nil {
		return fmt.Errorf("end an upload: %w", err)
	}
	if gone {
		return s.purge(ctx, key)
	}
	return s.unlink(files...)
}

// reason is what is kept of why an upload failed: words that clients may see, and no more.
func reason(err error) string {
	var f *compat.Fault
	if errors.As(err, &f) {
		return clip(f.Message)
	}
	return "The data could not be stored."
}

const selectRaw = `SELECT ` + columns + ` FROM images i WHERE i.id = ?`

// raw reads a row by its key, deleted or not, without its children.
func raw(ctx context.Context, q schema.Querier, key int64) (*record, error) {
	rec := &record{}
	err := q.GetContext(ctx, rec, selectRaw, key)
	return rec, err
}

const purgeImage = `
UPDATE images SET data_file = '', staged_file = '', upload = '', charged = 0
WHERE id = ? AND deleted_at <> 0 AND charged = ?`

// purge removes the bytes of a deleted image, and only then gives the quota back.
func (s *Service) purge(ctx context.Context, key int64) error {
	rec, err := raw(ctx, s.DB, key)
	if err != nil || rec.Status != Deleted {
		return err
	}
	files := []string{rec.DataFile, rec.Staged}
	if rec.Upload != "" {
		files = append(files, rec.ID+"."+rec.Upload+partSuffix, rec.ID+"."+rec.Upload)
	}
	err = s.unlink(files...)
	if err != nil {
		return err
	}
	return s.DB.Tx(ctx, func(tx *schema.Tx) error {
		ok, err := schema.Changed(tx.ExecContext(ctx, purgeImage, key, rec.Charged))
		if err != nil || !ok {
			return err
		}
		return takeBytes(ctx, tx, rec.Owner, -rec.Charged, unlimited)
	})
}

// unlink removes files of the data folder; those that are gone already are no error.
func (s *Service) unlink(names ...string) error {
	var problems []error
	for _, name := range names {
		if name == "" {
			continue
		}
		err := os.Remove(filepath.Join(s.Dir, filepath.Base(name)))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}
