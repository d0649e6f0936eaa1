package main

import (
	"strings"
	"testing"
)

// What is wrong on the command line is said before any cloud is asked.
func TestWrongFlags(t *testing.T) {
	for want, set := range map[string]func(*runFlags){
		"--parallel is at least 1":                func(o *runFlags) { o.parallel = 0 },
		"--policy is auto, new or legacy":         func(o *runFlags) { o.cfg.Policy = "old" },
		"--keep and --disturb do not go together": func(o *runFlags) { o.cfg.Keep, o.cfg.Disturb = true, true },
		"missing closing )":                       func(o *runFlags) { o.choice.only = "(" },
		`"2.x" is not a microversion`:             func(o *runFlags) { o.choice.versions = "2.x" },
	} {
		o := runFlags{parallel: 1}
		o.cfg.Policy = "auto"
		o.choice.versions = "edges"
		set(&o)
		_, _, err := o.options()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, which does not say %q", err, want)
		}
	}
}
