package images

import (
	"net/http"
	"strings"
	"testing"
)

// TestPartsOfData: what Range and Content-Range ask for is read as Glance reads it.
func TestPartsOfData(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		const data = "some bytes of a disk"
		at := "/v2/images/" + c.active(alice) + "/file"
		for _, tt := range []struct {
			header, value string
			code          int
			want, span    string // the body, or words of it
		}{
			{"Range", "bytes=0-3", 206, "some", "bytes 0-3/20"},
			{"Range", "bytes=5-", 206, data[5:], "bytes 5-19/20"},
			{"Range", "bytes=-4", 206, "disk", "bytes 16-19/20"},
			{"Range", "bytes=-400", 206, data, "bytes 0-19/20"},
			{"Range", "bytes=-0", 206, data, "bytes 0-19/20"},
			{"Range", "bytes=19-", 206, "k", "bytes 19-19/20"},
			{"Range", "bytes=0-99999999999999999999999999", 206, data, "bytes 0-19/20"},
			{"Range", "Bytes = 0 - 3", 206, "some", "bytes 0-3/20"},
			{"Range", "bytes=20-", 416, "Invalid start position in Range header. Start position MUST be in the inclusive range [0, 19].", ""},
			{"Range", "bytes=99999999999999999999999999-", 416, "Invalid start position", ""},
			{"Range", "bytes=3-2", 416, "Invalid Range header.", ""},
			{"Range", "bytes=-", 416, "Invalid Range header.", ""},
			{"Range", "bytes", 416, "Invalid Range header.", ""},
			{"Range", "lines=0-3", 416, "Invalid Range header.", ""},
			{"Range", "bytes=0-1,4-5", 400, "Requests with multiple ranges are not supported", ""},
			{"Range", "bytes=0-1, 4-5, -1", 400, "Requests with multiple ranges are not supported", ""},
			{"Range", "bytes=0-1,", 400, "Requests with multiple ranges are not supported", ""},
			{"Content-Range", "bytes 0-3/20", 206, "some", "bytes 0-3/20"},
			{"Content-Range", "bytes 0-3/*", 206, "some", "bytes 0-3/20"},
			{"Content-Range", "bytes 5-9/1048576", 206, "bytes", "bytes 5-9/20"},
			{"Content-Range", "bytes 0-20/*", 416, "Invalid stop position in Content-Range header.", ""},
			{"Content-Range", "bytes 0-20/1048576", 416, "Invalid stop position in Content-Range header.", ""},
			{"Content-Range", "bytes 0-20/20", 416, "Invalid Content-Range header.", ""},
			{"Content-Range", "bytes 3-2/20", 416, "Invalid Content-Range header.", ""},
			{"Content-Range", "bytes */20", 416, "Invalid Content-Range header.", ""},
			{"Content-Range", "bytes=0-3", 416, "Invalid Content-Range header.", ""},
		} {
			w := c.do(alice, "GET", at, nil, tt.header, tt.value)
			body := w.Body.String()
			switch {
			case w.Code != tt.code || w.Header().Get("Content-Range") != tt.span || w.Header().Get("Content-Md5") != "":
				t.Errorf("%s: %s: %d %v %s", tt.header, tt.value, w.Code, w.Header(), body)
			case w.Code == 206 && (body != tt.want || w.Header().Get("Content-Type") != "application/octet-stream"):
				t.Errorf("%s: %s: %v %q, want %q", tt.header, tt.value, w.Header(), body, tt.want)
			case !strings.Contains(body, tt.want):
				t.Errorf("%s: %s: %s, want %q", tt.header, tt.value, body, tt.want)
			}
		}
		w := c.do(alice, "GET", at, nil, "Range", "bytes=0-3", "Content-Range", "bytes 5-9/*")
		if w.Code != 206 || w.Body.String() != "some" {
			t.Errorf("both headers: %d %q", w.Code, w.Body)
		}
		w = c.do(alice, "GET", at, nil)
		if w.Code != 200 || w.Body.String() != data || w.Header().Get("Content-Md5") == "" || w.Header().Get("Content-Length") != "20" || w.Header().Get("Content-Range") != "" {
			t.Errorf("the whole: %d %v %q", w.Code, w.Header(), w.Body)
		}
		// A host's ticket reads parts too, and an image without data has none.
		if w := c.do("", "GET", at, nil, ticketHeader, c.s.ReadTransfer(strings.Split(at, "/")[3], Job{}).Ticket, "Range", "bytes=-4"); w.Code != 206 || w.Body.String() != "disk" {
			t.Errorf("with a ticket: %d %q", w.Code, w.Body)
		}
		if w := c.do(alice, "GET", "/v2/images/"+c.image(alice, "raw")+"/file", nil, "Range", "bytes=0-3"); w.Code != http.StatusNoContent {
			t.Errorf("without data: %d", w.Code)
		}
	})
}
