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
	var level string
	root := &cobra.Command{
		Use:           "kilonova",
		Short:         "An OpenStack compute cloud in one program",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			return setLog(level)
		},
	}
	root.PersistentFlags().StringVar(&level, "log-level", envOr("KILONOVA_LOG_LEVEL", "info"), "debug, info, warn or error")
	root.AddCommand(upCommand(), apiCommand(), computedCommand(), dbCommand(), hostCommand(), doctorCommand())
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

func envOr(name, fallback string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return fallback
}
