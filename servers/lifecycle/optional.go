package lifecycle

import "encoding/json"

// Optional tells a field that was not sent from one that is null.
type Optional[T any] struct {
	Sent  bool
	Value *T
}

// UnmarshalJSON is called only for fields that were sent.
func (o *Optional[T]) UnmarshalJSON(raw []byte) error {
	o.Sent = true
	if string(raw) == "null" {
		return nil
	}
	o.Value = new(T)
	return json.Unmarshal(raw, o.Value)
}

// Into puts a sent value into the row's changes under its column.
func (o Optional[T]) Into(set Change, column string) {
	if o.Sent {
		set[column] = o.Value
	}
}
