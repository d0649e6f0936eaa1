package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"kilonova/private"
)

// version is set by the linker.
var version = "dev"

func main() {
	private.Umask()
	err := hidePassword()
	if err != nil {
		fmt.Fprintln(os.Stderr, "kilonova:", err)
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if os.Getenv("GOGC") == "" {
		// A list of a thousand servers is a few megabytes of garbage beside a heap of
		// little more: collecting half as often makes it a fifth faster.
		debug.SetGCPercent(200)
	}
	err = rootCommand().ExecuteContext(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "kilonova:", err)
		os.Exit(1)
	}
}

func rootCommand() *cobra.Command {
	cfg, set := newConfig()
	p := &process{config: cfg, set: set}
	root := &cobra.Command{
		Use:               "kilonova",
		Short:             "An OpenStack compute cloud in one program",
		Version:           version,
		SilenceUsage:      true,
		SilenceErrors:     true,
		PersistentPreRunE: func(*cobra.Command, []string) error { return p.ready() },
	}
	root.PersistentFlags().StringVar(&p.file, "config", "", "file of the configuration ("+configVar+", or "+configFile+" if it is there)")
	set.AddFlags(root.PersistentFlags(), "all")
	root.AddCommand(upCommand(p), apiCommand(p), computedCommand(p), configCommand(p), dbCommand(p), hostCommand(p), doctorCommand(p))
	return root
}

func setLog(level string) error {
	var l slog.Level
	err := l.UnmarshalText([]byte(level))
	if err != nil {
		return fmt.Errorf("log level: %w", err)
	}
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: l})))
	return nil
}
