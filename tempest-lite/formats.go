package tempestlite

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strings"

	"github.com/google/uuid"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

var printer = message.NewPrinter(language.English)

// Times as Nova writes them: ISO 8601 with or without fraction and zone.
var isoTime = regexp.MustCompile(`^\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)?$`)

// registerFormats adds the formats of answers. Those that only requests have are left out:
// bad values of them are written by hand.
func registerFormats(c *jsonschema.Compiler) {
	for name, valid := range map[string]func(string) bool{
		"date-time": isoTime.MatchString,
		"uuid":      func(s string) bool { return uuid.Validate(s) == nil },
		"ipv4":      func(s string) bool { a, err := netip.ParseAddr(s); return err == nil && a.Is4() },
		"ipv6":      func(s string) bool { a, err := netip.ParseAddr(s); return err == nil && a.Is6() },
		"uri":       func(s string) bool { u, err := url.Parse(s); return err == nil && u.IsAbs() },
	} {
		c.RegisterFormat(&jsonschema.Format{Name: name, Validate: func(v any) error {
			s, ok := v.(string)
			if !ok || valid(s) {
				return nil
			}
			return errors.New("is not a " + name)
		}})
	}
	c.AssertFormat()
}

// leaves gathers the innermost causes of a validation error, each with where it is.
func leaves(e *jsonschema.ValidationError, out *[]string) {
	if len(e.Causes) > 0 {
		for _, cause := range e.Causes {
			leaves(cause, out)
		}
		return
	}
	where := "/" + strings.Join(e.InstanceLocation, "/")
	text := e.ErrorKind.LocalizedString(printer)
	if _, schema := e.ErrorKind.(*kind.Schema); schema {
		return
	}
	*out = append(*out, fmt.Sprintf("%s: %s", where, text))
}
