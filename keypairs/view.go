package keypairs

import (
	"net/http"

	"kilonova/compat"
)

// view is a keypair as clients see it.
type view struct {
	Name        string  `json:"name"`
	PublicKey   string  `json:"public_key"`
	Fingerprint string  `json:"fingerprint"`
	Type        string  `json:"type" since:"2.2"`
	UserID      string  `json:"user_id" in:"create,show"`
	PrivateKey  *string `json:"private_key,omitnil" in:"create" until:"2.91"`
	ID          int64   `json:"id" in:"show"`
	Deleted     bool    `json:"deleted" in:"show"`
	CreatedAt   string  `json:"created_at" in:"show"`
	UpdatedAt   *string `json:"updated_at" in:"show"`
	DeletedAt   *string `json:"deleted_at" in:"show"`
}

var encoder = compat.NewEncoder[view]()

func viewOf(k *Keypair) *view {
	return &view{
		Name: k.Name, PublicKey: k.PublicKey, Fingerprint: k.Fingerprint, Type: k.Type,
		UserID: k.UserID, ID: k.ID, CreatedAt: k.CreatedAt.ISOMicros(),
	}
}

// answer writes one keypair, with the private half when there is one.
func answer(w http.ResponseWriter, r *compat.Request, k *Keypair, name string, private *string) error {
	v := viewOf(k)
	v.PrivateKey = private
	buf := compat.Buffer()
	defer buf.Free()
	buf.B = append(buf.B, `{"keypair":`...)
	buf.B = encoder.Append(buf.B, v, compat.At{Version: r.Version, View: name})
	buf.B = append(buf.B, '}')
	return r.AnswerBytes(w, buf.B)
}

// answerList writes a page, with a link to the next one when it is full.
func answerList(w http.ResponseWriter, r *compat.Request, page []Keypair, limit int) error {
	buf := compat.Buffer()
	defer buf.Free()
	buf.B = append(buf.B, `{"keypairs":[`...)
	for i := range page {
		if i > 0 {
			buf.B = append(buf.B, ',')
		}
		buf.B = append(buf.B, `{"keypair":`...)
		buf.B = encoder.Append(buf.B, viewOf(&page[i]), compat.At{Version: r.Version, View: "list"})
		buf.B = append(buf.B, '}')
	}
	buf.B = append(buf.B, ']')
	if n := len(page); n > 0 && n == limit {
		next := r.NextLink("/os-keypairs", page[n-1].Name)
		buf.B = append(buf.B, `,"keypairs_links":[{"rel":"next","href":`...)
		buf.B = append(compat.AppendString(buf.B, next[0].Href), `}]`...)
	}
	buf.B = append(buf.B, '}')
	return r.AnswerBytes(w, buf.B)
}
