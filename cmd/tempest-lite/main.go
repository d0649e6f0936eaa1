package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	tempestlite "kilonova/tempest-lite"
)

// version is set by the linker.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := 0
	err := rootCommand(&code).ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "tempest-lite:", err)
		os.Exit(2)
	}
	os.Exit(code)
}

func rootCommand(code *int) *cobra.Command {
	root := &cobra.Command{
		Use:           "tempest-lite",
		Short:         "Tells how faithfully a cloud speaks the OpenStack Compute API",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(runCommand(code))
	return root
}

func runCommand(code *int) *cobra.Command {
	var cfg tempestlite.Config
	var only, skip, versions string
	var parallel int
	cmd := &cobra.Command{
		Use:  "run",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			contract, err := tempestlite.LoadContract()
			if err != nil {
				return err
			}
			opts := tempestlite.Options{Parallel: parallel}
			opts.Selector, err = tempestlite.NewSelector(only, skip)
			if err != nil {
				return err
			}
			opts.Versions, err = tempestlite.ParseSelection(versions)
			if err != nil {
				return err
			}
			report, err := tempestlite.Run(cmd.Context(), contract, cfg, opts)
			if err != nil {
				return err
			}
			report.WriteText(os.Stdout)
			if report.Count(tempestlite.Failed)+report.Count(tempestlite.Refused) > 0 {
				*code = 1
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.Cloud, "cloud", "", "cloud of clouds.yaml")
	f.StringVar(&cfg.ComputeURL, "compute-url", "", "")
	f.StringVar(&cfg.Policy, "policy", "auto", "")
	f.BoolVar(&cfg.Disturb, "disturb", false, "")
	f.BoolVar(&cfg.Keep, "keep", false, "")
	f.DurationVar(&cfg.Timeout, "timeout", 2*time.Minute, "")
	f.StringVar(&only, "only", "", "")
	f.StringVar(&skip, "skip", "", "")
	f.StringVar(&versions, "microversions", "edges", "")
	f.IntVar(&parallel, "parallel", 4, "")
	return cmd
}
