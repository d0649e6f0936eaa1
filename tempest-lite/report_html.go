package tempestlite

import "io"

// WriteHTML writes one page to look at.
func (r *Report) WriteHTML(w io.Writer) error { return nil }
