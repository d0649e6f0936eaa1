package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"kilonova/images"
	"kilonova/room"
)

// diskFlags say how much of the disks users may take.
type diskFlags struct {
	keep, quota room.Size
	badEnv      error
}

func (f *diskFlags) add(fl *pflag.FlagSet) {
	f.fromEnv(&f.keep, "KILONOVA_KEEP_FREE")
	fl.Var(&f.keep, "keep-free", "what of a disk stays free whatever users store, such as 5GiB or 10% (1 GiB if empty, of a small disk a fifth)")
}

func (f *diskFlags) addQuota(fl *pflag.FlagSet) {
	f.fromEnv(&f.quota, "KILONOVA_IMAGE_QUOTA")
	fl.Var(&f.quota, "image-quota", "image data that each project may hold, such as 500GiB, 10% of the images' disk, or unlimited (25% if empty)")
}

func (f *diskFlags) fromEnv(s *room.Size, name string) {
	value := os.Getenv(name)
	if value == "" {
		return
	}
	err := s.Set(value)
	if err != nil {
		f.badEnv = errors.Join(f.badEnv, fmt.Errorf("%s: %w", name, err))
	}
}

// floor is what stays free on the disk of path.
func (f *diskFlags) floor(path string) *room.Floor { return &room.Floor{Path: path, Keep: f.keep} }

// projectBytes is the quota in bytes, 0 for the default.
func (f *diskFlags) projectBytes(path string) (int64, error) {
	if f.quota.Unset() {
		return 0, nil
	}
	disk, err := room.Of(path)
	if err != nil {
		return 0, err
	}
	// Nothing at all is a quota too.
	return max(f.quota.Of(disk.Size), 1), nil
}

func imagesDir(stateDir string) string { return filepath.Join(stateDir, "images") }

// tidyImages gives back what uploads of an earlier process left half done. That comes before
// the database is opened, which needs room.
func tidyImages(ctx context.Context, stateDir string) {
	n, err := images.Tidy(imagesDir(stateDir))
	if n > 0 {
		slog.InfoContext(ctx, "removed what broken uploads left", "files", n)
	}
	if err != nil {
		slog.WarnContext(ctx, "broken uploads may have left data", "err", err)
	}
}

// waits reports whether a request can wait while there is hardly any disk: whatever neither
// reads nor deletes, but for logging in.
func waits(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodDelete:
		return false
	}
	return !strings.HasPrefix(r.URL.Path, identityPath+"/v3/auth/")
}
