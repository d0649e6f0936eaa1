package images

import (
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/gorilla/mux"

	"kilonova/compat"
	"kilonova/work"
)

// A compute host reads and writes image data with a ticket for that image alone, in the
// header X-Image-Ticket; it has no token, so that a broken host reaches no other image.
const (
	ticketHeader = "X-Image-Ticket"
	ticketRead   = "image-read"
	ticketWrite  = "image-write"
)

// ReadTransfer is the address from which a host can read an image's data for a while.
func (s *Service) ReadTransfer(imageID string) work.Transfer {
	return s.transfer(ticketRead, imageID)
}

// WriteTransfer is the address to which a host can write the data of a queued image, once.
func (s *Service) WriteTransfer(imageID string) work.Transfer {
	return s.transfer(ticketWrite, imageID)
}

func (s *Service) transfer(purpose, id string) work.Transfer {
	return work.Transfer{
		ImageID: id, URL: s.InternalURL + "/v2/images/" + url.PathEscape(id) + "/file",
		Ticket: s.Tickets.SignTicket(purpose, id, s.TicketTTL),
	}
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
	if err != nil || subject != id || id == "" {
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
