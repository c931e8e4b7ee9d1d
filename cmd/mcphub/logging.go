package main

import (
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"
)

// logFlags say what is logged and how.
type logFlags struct {
	format string
	level  string
}

func (f *logFlags) register(cmd *cobra.Command, level string) {
	cmd.Flags().StringVar(&f.format, "log-format", "text", "`format` of the log on stderr: text or json")
	cmd.Flags().StringVar(&f.level, "log-level", level, "lowest `level` logged: debug, info, warn or error")
	_ = cmd.RegisterFlagCompletionFunc("log-format", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("log-level", cobra.FixedCompletions([]string{"debug", "info", "warn", "error"}, cobra.ShellCompDirectiveNoFileComp))
}

func (f *logFlags) logger(w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	switch f.level {
	case "debug", "info", "warn", "error":
		if err := level.UnmarshalText([]byte(strings.ToUpper(f.level))); err != nil {
			return nil, fmt.Errorf("log level %s: %w", f.level, err)
		}
	default:
		return nil, badUsage("--log-level %q: want debug, info, warn or error", f.level)
	}
	opts := &slog.HandlerOptions{Level: level}
	switch f.format {
	case "text":
		return slog.New(tracing{slog.NewTextHandler(w, opts)}), nil
	case "json":
		return slog.New(tracing{slog.NewJSONHandler(w, opts)}), nil
	default:
		return nil, badUsage("--log-format %q: want text or json", f.format)
	}
}
