package tempestlite

import (
	"encoding/csv"
	"fmt"
	"net/http"
	"regexp"
	"strings"
)

// defect is a place where a release of Nova breaks with a 500 of its own: contract/defects.tsv
// has them. A check that meets one is skipped and says so; the class of the Python exception
// in the text makes sure that nothing else is excused.
type defect struct {
	checks *regexp.Regexp
	text   string
	what   string
}

func readDefects() ([]defect, error) {
	data, err := contractFiles.ReadFile("contract/defects.tsv")
	if err != nil {
		return nil, fmt.Errorf("reading the defects: %w", err)
	}
	r := csv.NewReader(strings.NewReader(string(data)))
	r.Comma, r.LazyQuotes = '\t', true
	rows, err := r.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("reading contract/defects.tsv: %w", err)
	}
	var out []defect
	for _, row := range rows[1:] {
		checks, err := regexp.Compile(row[0])
		if err != nil {
			return nil, fmt.Errorf("contract/defects.tsv: %w", err)
		}
		out = append(out, defect{checks, row[1], row[2]})
	}
	return out, nil
}

// defect says which of Nova's defects an answer is; "" if none.
func (c *Contract) defect(check string, r *Response) string {
	if r.Status != http.StatusInternalServerError {
		return ""
	}
	for _, d := range c.defects {
		if d.checks.MatchString(check) && strings.HasSuffix(r.Message(), d.text) {
			return d.what
		}
	}
	return ""
}
