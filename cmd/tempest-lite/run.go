package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	tempestlite "kilonova/tempest-lite"
)

// runFlags are what the command line of run says.
type runFlags struct {
	cfg      tempestlite.Config
	choice   choice
	parallel int
	verbose  bool
	expect   string
	json     string
	junit    string
	html     string
	coverage string
}

// choice is the flags that choose checks, for run and for list.
type choice struct{ only, skip, versions string }

func (c *choice) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&c.only, "only", "", "checks whose id matches this `REGEXP`")
	f.StringVar(&c.skip, "skip", "", "not those whose id matches this `REGEXP`")
	f.StringVar(&c.versions, "microversions", "edges", "at `which`: edges (where an operation changes, its first and last), all, or a list such as 2.1,2.90")
}

func runCommand() *cobra.Command {
	var o runFlags
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Check a cloud",
		Long: `Checks a cloud, and says at the end what failed, was refused (501) and was skipped, and why.

The cloud is one of clouds.yaml (--cloud, OS_CLOUD) or that of the OS_ variables. What the
run makes is named tempest-lite-…, and removed at its end, also after Ctrl-C; a second
Ctrl-C ends the program at once. Nothing else in the cloud is changed, unless --disturb.

Exit status: 0 if all is well, 1 if something failed or was refused, 2 if the checks could
not run or were interrupted.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return o.run() },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&o.cfg.Cloud, "cloud", "", "the cloud of clouds.yaml with this `NAME`; without it OS_CLOUD, then the OS_ variables")
	o.choice.flags(cmd)
	f.IntVar(&o.parallel, "parallel", 6, "checks that run at the same time")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "a line for each check")
	f.StringVar(&o.expect, "expect", "", "`FILE` of what is known not to pass: \"operation NAME\" is refused, \"check ID # why\" fails")
	f.StringVar(&o.json, "json", "", "write the results to this `FILE`, for programs")
	f.StringVar(&o.junit, "junit", "", "write the results to this `FILE`, for CI systems")
	f.StringVar(&o.html, "html", "", "write results and coverage to this `FILE`, one page to look at")
	f.StringVar(&o.coverage, "coverage", "", "write what is supported at which microversions to this `FILE`: .md, .json or .txt")
	f.StringVar(&o.cfg.ComputeURL, "compute-url", "", "the `URL` of the Compute API, up to and with /v2.1, instead of the catalogue's")
	f.StringVar(&o.cfg.Policy, "policy", "auto", "policies in force: new (reader and member told apart), legacy, or auto to find out")
	f.StringVar(&o.cfg.Image, "image", "", "boot from this image (`NAME` or id) instead of an empty one of the run's own")
	f.StringVar(&o.cfg.Network, "network", "", "plug servers into this network (`NAME` or id) instead of one of the run's own")
	f.BoolVar(&o.cfg.Disturb, "disturb", false, "also run the checks that disable and force down compute services, and put them back")
	f.BoolVar(&o.cfg.Keep, "keep", false, "leave in the cloud what the run has made")
	f.DurationVar(&o.cfg.Timeout, "timeout", 2*time.Minute, "for each piece of work of the cloud, such as the start of a server")
	return cmd
}

func (o *runFlags) run() error {
	contract, opts, err := o.options()
	if err != nil {
		return err
	}
	progress := newProgress(o.verbose)
	opts.Starting, opts.Progress = progress.Starting, progress.Done
	o.cfg.Made = &tempestlite.Ledger{}
	ctx, stop := untilInterrupted(progress, o.cfg.Made)
	defer stop()
	progress.Start()
	report, err := tempestlite.Run(ctx, contract, o.cfg, opts)
	progress.Stop()
	if err != nil && ctx.Err() != nil {
		fmt.Fprintln(os.Stderr, "tempest-lite: interrupted before the first check")
		return exitError(tempestlite.ExitNotRun)
	}
	if err != nil {
		return err
	}
	report.Program = version
	report.WriteText(os.Stdout, isTerminal(os.Stdout) && colours())
	err = o.files(report)
	if err != nil {
		return err
	}
	if code := report.ExitStatus(); code != tempestlite.ExitGood {
		return exitError(code)
	}
	return nil
}

// options reads what can be wrong on the command line, before any cloud is asked.
func (o *runFlags) options() (*tempestlite.Contract, tempestlite.Options, error) {
	opts := tempestlite.Options{Parallel: o.parallel}
	switch o.cfg.Policy {
	case "auto", "new", "legacy":
	default:
		return nil, opts, fmt.Errorf("--policy is auto, new or legacy, not %q", o.cfg.Policy)
	}
	if o.cfg.Keep && o.cfg.Disturb {
		return nil, opts, errors.New("--keep and --disturb do not go together: hosts have to be put back as they were")
	}
	if o.parallel < 1 {
		return nil, opts, errors.New("--parallel is at least 1")
	}
	contract, err := tempestlite.LoadContract()
	if err != nil {
		return nil, opts, err
	}
	opts.Selector, err = tempestlite.NewSelector(o.choice.only, o.choice.skip)
	if err != nil {
		return nil, opts, err
	}
	opts.Versions, err = tempestlite.ParseSelection(o.choice.versions)
	if err != nil {
		return nil, opts, err
	}
	if o.expect != "" {
		data, err := os.ReadFile(o.expect)
		if err != nil {
			return nil, opts, fmt.Errorf("reading the expectations: %w", err)
		}
		opts.Expect, err = tempestlite.ReadExpectations(bytes.NewReader(data), contract)
		if err != nil {
			return nil, opts, fmt.Errorf("%s: %w", o.expect, err)
		}
	}
	return contract, opts, nil
}

func newProgress(verbose bool) *tempestlite.Progress {
	fd := int(os.Stderr.Fd())
	return &tempestlite.Progress{
		Out:      os.Stderr,
		Terminal: isTerminal(os.Stderr) && os.Getenv("TERM") != "dumb",
		Colours:  isTerminal(os.Stderr) && colours(),
		Verbose:  verbose,
		Width: func() int {
			width, _, err := term.GetSize(fd)
			if err != nil || width <= 0 {
				return 80
			}
			return width
		},
	}
}

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// colours tells whether the user wants them: https://no-color.org.
func colours() bool { return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" }

// untilInterrupted is a context that the first Ctrl-C ends. The second ends the program,
// and names what is left in the cloud.
func untilInterrupted(progress *tempestlite.Progress, made *tempestlite.Ledger) (context.Context, func()) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		<-signals
		progress.Say("interrupted: removing what was made (again: end at once)")
		progress.Ending("removing what was made")
		cancel()
		<-signals
		left := made.Left()
		if len(left) > 0 {
			progress.Say("ended; these are left in the cloud:\n  %s", strings.Join(left, "\n  "))
		}
		os.Exit(tempestlite.ExitNotRun)
	}()
	return ctx, func() {
		signal.Stop(signals)
		cancel()
	}
}

// files writes what the flags ask for.
func (o *runFlags) files(r *tempestlite.Report) error {
	for _, f := range []struct {
		name  string
		write func(io.Writer) error
	}{
		{o.json, r.WriteJSON},
		{o.junit, r.WriteJUnit},
		{o.html, r.WriteHTML},
		{o.coverage, func(w io.Writer) error { return r.WriteCoverage(w, o.coverage) }},
	} {
		if f.name == "" {
			continue
		}
		var text bytes.Buffer
		err := f.write(&text)
		if err == nil {
			err = os.WriteFile(f.name, text.Bytes(), 0o644)
		}
		if err != nil {
			return fmt.Errorf("writing %s: %w", f.name, err)
		}
	}
	return nil
}
