package images

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"kilonova/compat"
	"kilonova/work"
)

// A compute host reads and writes image data with a ticket for that image alone, in the
// header X-Image-Ticket; it has no token, so that a broken host reaches no other image. A
// ticket is a job's: it ends with it, and with the server that the job is for.
const (
	ticketHeader = "X-Image-Ticket"
	ticketRead   = "image-read"
	ticketWrite  = "image-write"
)

// Job is a piece of work that a host does: the generation of a server that it was made for.
type Job struct {
	Server     string
	Generation int64
	// Limit is how long it may take: no ticket of it is good after that.
	Limit time.Duration
}

// Jobs tells whether a job is being done now by the host that it was given to, for a server
// that still wants it.
type Jobs func(ctx context.Context, j Job) (bool, error)

// ReadTransfer is the address from which a host can read an image's data for a job.
func (s *Service) ReadTransfer(imageID string, j Job) work.Transfer {
	return s.transfer(ticketRead, imageID, j)
}

// WriteTransfer is the address to which a host can write the data of a queued image, once.
func (s *Service) WriteTransfer(imageID string, j Job) work.Transfer {
	return s.transfer(ticketWrite, imageID, j)
}

func (s *Service) transfer(purpose, id string, j Job) work.Transfer {
	return work.Transfer{
		ImageID: id, URL: s.InternalURL + "/v2/images/" + url.PathEscape(id) + "/file",
		Ticket: s.Tickets.SignTicket(purpose, ticketSubject(id, j), j.Limit),
	}
}

// ticketSubject is what a ticket is signed for.
func ticketSubject(imageID string, j Job) string {
	return imageID + " " + j.Server + " " + strconv.FormatInt(j.Generation, 10)
}

// readSubject reads it again; an image's id holds no blank.
func readSubject(subject string) (imageID string, j Job, ok bool) {
	parts := strings.Split(subject, " ")
	const fields = 3
	if len(parts) != fields {
		return "", Job{}, false
	}
	n, err := strconv.ParseInt(parts[2], 10, 64)
	return parts[0], Job{Server: parts[1], Generation: n}, err == nil
}

// ticketed answers the transfer of an image's data under a ticket.
func (s *Service) ticketed(w http.ResponseWriter, r *http.Request) {
	err := s.serveTicket(w, r, mux.Vars(r)["id"])
	if err != nil {
		fail(w, r, err)
	}
}

func (s *Service) serveTicket(w http.ResponseWriter, r *http.Request, id string) error {
	purpose := ticketRead
	if r.Method == http.MethodPut {
		purpose = ticketWrite
	}
	denied := compat.Unauthorized("The ticket is not valid for this image.")
	ticket := r.Header.Get(ticketHeader)
	if s.Tickets == nil || ticket == "" || len(ticket) > 4096 {
		return denied
	}
	subject, err := s.Tickets.VerifyTicket(purpose, ticket)
	if err != nil {
		return denied
	}
	imageID, job, ok := readSubject(subject)
	if !ok || imageID != id || id == "" || s.Jobs == nil {
		return denied
	}
	runs, err := s.Jobs(r.Context(), job)
	if err != nil {
		return fmt.Errorf("look at the job of a ticket: %w", err)
	}
	if !runs {
		return denied
	}
	compat.Vouch(r.Context())
	rec, err := find(r.Context(), s.DB, id)
	if errors.Is(err, sql.ErrNoRows) {
		return compat.NotFound("No image found with ID %s", clip(id))
	}
	if err != nil {
		return fmt.Errorf("get image %s: %w", clip(id), err)
	}
	if purpose == ticketWrite {
		return s.receive(w, r, rec, false)
	}
	if rec.Status != Active {
		return compat.Conflict("Image %s is not active.", id)
	}
	return s.send(w, r, rec)
}
