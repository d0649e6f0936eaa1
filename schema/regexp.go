package schema

import (
	"regexp"

	lru "github.com/hashicorp/golang-lru/v2"
)

// A list with a name filter calls REGEXP once a row with one pattern: compile it once.
var patterns = func() *lru.Cache[string, *regexp.Regexp] {
	c, err := lru.New[string, *regexp.Regexp](256)
	if err != nil {
		panic(err) // the size is a positive constant
	}
	return c
}()

func compileCached(pattern string) (*regexp.Regexp, error) {
	re, ok := patterns.Get(pattern)
	if ok {
		return re, nil
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, err
	}
	patterns.Add(pattern, re)
	return re, nil
}
