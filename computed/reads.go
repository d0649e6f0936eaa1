package computed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"kilonova/work"
)

// consoleBytes is how much of the console log is given, as Nova does.
const consoleBytes = 102400

// reads are questions: they change nothing, so they need not wait their turn.
var reads = map[work.Kind]func(a *Agent, ctx context.Context, args *work.Args) (string, error){
	work.ConsoleOutput: func(a *Agent, ctx context.Context, args *work.Args) (string, error) {
		out, err := a.Driver.Console(ctx, args.Guest.UUID, consoleBytes)
		return tail(string(out), args.Length), err
	},
	work.Diagnose: func(a *Agent, ctx context.Context, args *work.Args) (string, error) {
		d, err := a.Driver.Diagnostics(ctx, args.Guest.UUID)
		if err != nil {
			return "", err
		}
		out, err := json.Marshal(d)
		return string(out), err
	},
}

// tail gives the last n lines; all of them for 0.
func tail(s string, n int) string {
	if n <= 0 {
		return s
	}
	lines := strings.Split(strings.TrimSuffix(s, "\n"), "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return strings.Join(lines, "\n")
}

// snapshot sends a copy of the guest's disk to where the API said.
func snapshot(a *Agent, args *work.Args) []Step {
	return []Step{{Name: "snapshot", Phase: phaseUploading, Do: func(ctx context.Context) error {
		if args.Upload == nil {
			return fmt.Errorf("no address to upload to")
		}
		return a.Driver.Snapshot(ctx, args.Guest.UUID, "qcow2", func(r io.Reader, size int64) error {
			return a.upload(ctx, args.Upload, r, size)
		})
	}}}
}

// errNoRoomForImage says that the image service has no room for the image, or its owner no
// more quota.
var errNoRoomForImage = errors.New("the image service takes no more")

// alreadyThere is the image service's answer when an earlier try has delivered the data.
const alreadyThere = http.StatusConflict

func (a *Agent) upload(ctx context.Context, to *work.Transfer, r io.Reader, size int64) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, to.URL, r)
	if err != nil {
		return fmt.Errorf("upload image %s: %w", to.ImageID, err)
	}
	req.ContentLength = size
	req.Header.Set("Content-Type", "application/octet-stream")
	req.Header.Set("X-Image-Ticket", to.Ticket)
	req.Header.Set("Expect", "100-continue") // what there is no room for is not sent
	resp, err := a.HTTPClient.Do(req)
	if err != nil {
		return fmt.Errorf("upload image %s: %w", to.ImageID, err)
	}
	defer resp.Body.Close()
	const enough = 1024
	said, err := io.ReadAll(io.LimitReader(resp.Body, enough))
	if err != nil {
		return fmt.Errorf("upload image %s: %w", to.ImageID, err)
	}
	if resp.StatusCode == http.StatusRequestEntityTooLarge {
		return fmt.Errorf("upload image %s: %w: %s", to.ImageID, errNoRoomForImage, said)
	}
	if resp.StatusCode/100 != 2 && resp.StatusCode != alreadyThere {
		return fmt.Errorf("upload image %s: %d %s", to.ImageID, resp.StatusCode, said)
	}
	return nil
}
