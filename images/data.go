package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"kilonova/compat"
	"kilonova/diskformat"
)

// patientReader reads an upload's body: a client that sends nothing for a while ends it,
// one that goes on keeps the upload alive.
type patientReader struct {
	ctx  context.Context
	body io.Reader
	rc   *http.ResponseController
	u    *upload
}

func (p *patientReader) Read(b []byte) (int, error) {
	err := p.u.beat(p.ctx)
	if err != nil {
		return 0, err
	}
	// Without support for deadlines the server's own hold.
	_ = p.rc.SetReadDeadline(time.Now().Add(p.u.s.IdleTimeout))
	n, err := p.body.Read(b)
	if err == nil || err == io.EOF { //nolint:errorlint // a wrapped EOF is no end
		return n, err
	}
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return n, err
	}
	return n, &compat.Fault{Code: http.StatusBadRequest, Message: "The image data ended before it was complete.", Err: err}
}

// receive takes a request's body as the image's data. stage keeps it for an import;
// otherwise it is inspected and the image becomes active. Whatever goes wrong, the image is
// queued again and nothing of the data is left.
func (s *Service) receive(w http.ResponseWriter, r *http.Request, rec *record, stage bool) error {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/octet-stream" {
		return &compat.Fault{Code: http.StatusUnsupportedMediaType, Message: "The Content-Type of image data must be application/octet-stream."}
	}
	if r.ContentLength > s.MaxImageSize {
		return compat.TooLarge("Image exceeds the maximum size of %d bytes.", s.MaxImageSize)
	}
	status := Saving
	if stage {
		status = Uploading
	}
	if rec.Status != Queued {
		return compat.Conflict("Image status transition from %s to %s is not allowed", rec.Status, status)
	}
	if rec.DiskFormat == "" || rec.ContainerFormat == "" {
		return compat.BadRequest("Properties disk_format, container_format must be set prior to saving data.")
	}
	u, err := s.begin(r.Context(), rec, Queued, status)
	if err != nil {
		return err
	}
	rc := http.NewResponseController(w)
	_ = rc.SetWriteDeadline(time.Time{}) // the answer comes when the data has, however long that takes
	err = s.store(r, &patientReader{r.Context(), r.Body, rc, u}, u, stage)
	if err != nil {
		// The client may be gone and its context with it; tidying up must not depend on it.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), 30*time.Second)
		defer cancel()
		undo := errors.Join(u.drop(), s.fail(ctx, rec.Key, u.token, err))
		if undo != nil {
			s.Log.WarnContext(ctx, "upload not undone yet", "image", rec.ID, "err", undo)
		}
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Service) store(r *http.Request, body io.Reader, u *upload, stage bool) error {
	err := s.Floor.Check(max(r.ContentLength, 0))
	if err != nil {
		return mediaFull(fmt.Errorf("before an upload: %w", err))
	}
	err = u.chargeFor(r.Context(), max(r.ContentLength, 0))
	if err != nil {
		return err
	}
	sum, err := u.write(r.Context(), body, func(head []byte) error {
		if stage {
			return nil
		}
		return u.checkHead(head)
	})
	if err != nil {
		return err
	}
	// From here the bytes are all here: a client that leaves now does not matter.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), time.Minute)
	defer cancel()
	if stage {
		return u.staged(ctx, sum.size)
	}
	virtual, err := u.inspect(u.path())
	if err != nil {
		return err
	}
	return u.activate(ctx, u.name(), Saving, sum, virtual)
}

// checkHead looks at the first bytes of data, inspect at a whole file of the data folder.
// Both return a 415 Fault for what is not of the image's declared format, or not safe.
func (u *upload) checkHead(head []byte) error {
	return inspected(diskformat.CheckHead(head, u.rec.DiskFormat, u.rec.ContainerFormat))
}

func (u *upload) inspect(path string) (virtual int64, err error) {
	virtual, err = diskformat.InspectFile(path, u.rec.DiskFormat, u.rec.ContainerFormat, u.s.MaxVirtualSize)
	return virtual, inspected(err)
}

func inspected(err error) error {
	var no *diskformat.Refusal
	if !errors.As(err, &no) {
		return err
	}
	return &compat.Fault{Code: http.StatusUnsupportedMediaType, Message: "Image format inspection failed: " + no.Reason}
}

// send answers GET /v2/images/{id}/file, with ranges.
func (s *Service) send(w http.ResponseWriter, r *http.Request, rec *record) error {
	if !rec.HasData() || rec.Size == 0 {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	file, err := os.Open(filepath.Join(s.Dir, rec.DataFile))
	if errors.Is(err, os.ErrNotExist) {
		// Deleted between the look at the row and now, or lost.
		s.Log.WarnContext(r.Context(), "image data is missing", "image", rec.ID)
		return compat.NotFound("Image %s has no data.", rec.ID)
	}
	if err != nil {
		return fmt.Errorf("open image file: %w", err)
	}
	defer func() { _ = file.Close() }() // it was only read
	part, err := partOf(r.Header, rec.Size)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("X-Content-Type-Options", "nosniff")
	code := http.StatusPartialContent
	if part == nil {
		code, part = http.StatusOK, &span{0, rec.Size}
		h.Set("Content-MD5", rec.Checksum)
	} else {
		h.Set("Content-Range", part.contentRange(rec.Size))
	}
	h.Set("Content-Length", strconv.FormatInt(part.n, 10))
	// A server's time limit for small answers is none for disks.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{})
	w.WriteHeader(code)
	_, err = io.Copy(w, io.NewSectionReader(file, part.off, part.n))
	if err != nil && r.Context().Err() == nil {
		// The answer has begun: it can only end too early.
		s.Log.WarnContext(r.Context(), "image data not sent whole", "image", rec.ID, "err", err)
	}
	return nil
}
