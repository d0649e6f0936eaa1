package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"strings"

	"kilonova/private"
)

// passed are the folders of a state folder that other accounts may walk through: libvirt
// runs QEMU as an account of its own and gives it the guests' disks, one by one. Nobody else
// may do anything with what the program keeps.
var passed = []string{".", "compute", "compute/images", "compute/instances", "compute/instances/*", "compute/tmp"}

// kept are the names in a state folder that are the program's: what else is there is the
// operator's, who is told of it and no more.
var kept = []string{".", "admin-password", "clouds.yaml", "compute", "computed-*.lock", "images", "jws-keys", "kilonova.db*", "lock",
	"machine-id", "openrc", "secrets.key", "sim"}

func matches(patterns []string, name string) bool {
	for _, p := range patterns {
		ok, err := path.Match(p, name)
		if err == nil && ok {
			return true
		}
	}
	return false
}

// openFiles gives what others may do too much with: of what is the program's, and of the rest.
func openFiles(dir string) (own, others []private.Problem, err error) {
	all, err := private.Examine(dir, func(at string, d fs.DirEntry) fs.FileMode {
		if d.IsDir() && matches(passed, filepath.ToSlash(at)) {
			return private.Pass
		}
		return private.Dir
	})
	for _, p := range all {
		first, _, _ := strings.Cut(filepath.ToSlash(p.Path), "/")
		if matches(kept, first) {
			own = append(own, p)
		} else {
			others = append(others, p)
		}
	}
	return own, others, err
}

// mendFiles closes what earlier releases, or a copy that forgot the modes, left open. What it
// cannot close, a warning names: the cloud starts all the same.
func mendFiles(dir string) {
	own, _, err := openFiles(dir)
	if len(own) > 0 {
		slog.Warn("other accounts could reach files of the cloud; they are closed now", "files", len(own), "first", filepath.Join(dir, own[0].Path), "mode", own[0].Mode)
		err = errors.Join(err, private.Mend(dir, own))
	}
	if err != nil {
		slog.Warn("files of the cloud may be open to other accounts; kilonova doctor says which", "err", err)
	}
}

func checkFiles(dir string) func(context.Context) finding {
	return func(context.Context) finding {
		_, err := os.Stat(dir)
		if errors.Is(err, fs.ErrNotExist) {
			return finding{ok: true, what: "there is no " + dir + " yet"}
		}
		own, others, err := openFiles(dir)
		switch {
		case err != nil:
			return finding{what: "the state folder cannot be looked through", mend: err.Error()}
		case len(own) > 0:
			return finding{what: fmt.Sprintf("other accounts can reach %d files of the cloud: %s", len(own), named(own)),
				mend: "the next start closes what belongs to its account; or by hand: chmod " + fmt.Sprintf("%o %s", own[0].Want, filepath.Join(dir, own[0].Path))}
		case len(others) > 0:
			return finding{fine: true, what: fmt.Sprintf("other accounts can reach %d files in the state folder that are not the cloud's: %s", len(others), named(others)),
				mend: "close them if they hold anything secret: chmod go= FILE"}
		}
		return finding{ok: true, what: "no other account reaches the files of " + dir}
	}
}

// named lists a few of the files, with their modes.
func named(list []private.Problem) string {
	const few = 3
	var out []string
	for _, p := range list[:min(few, len(list))] {
		out = append(out, fmt.Sprintf("%s (%04o, not %04o)", p.Path, p.Mode, p.Want))
	}
	if len(list) > few {
		out = append(out, "...")
	}
	return strings.Join(out, ", ")
}
