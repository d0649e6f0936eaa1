package tempestlite

import (
	"encoding/json"
	"strings"
)

// match names the operation that a request belongs to; "" if there is none.
func (c *Contract) match(method, path, body string) string {
	path, _, _ = strings.Cut(path, "?")
	have := strings.Split(strings.Trim(path, "/"), "/")
	action := ""
	if have[len(have)-1] == "action" {
		action = onlyKey(body)
	}
	best, score := "", -1
	for _, op := range c.Operations {
		if op.Method != method || op.Action != action {
			continue
		}
		if s := matchPath(strings.Split(strings.Trim(op.Path, "/"), "/"), have); s > score {
			best, score = op.Name, s
		}
	}
	return best
}

// onlyKey is the key of a body that has one.
func onlyKey(body string) string {
	var m map[string]json.RawMessage
	if json.Unmarshal([]byte(body), &m) != nil || len(m) != 1 {
		return ""
	}
	for key := range m {
		return key
	}
	return ""
}

// matchPath counts the words that are the same; -1 if the path is another.
func matchPath(template, have []string) int {
	if len(template) != len(have) {
		return -1
	}
	score := 0
	for i, word := range template {
		switch {
		case strings.HasPrefix(word, "{"):
		case word == have[i]:
			score++
		default:
			return -1
		}
	}
	return score
}
