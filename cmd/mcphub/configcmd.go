package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mcphub-go/mcphub/internal/config"
)

func (a *app) configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check a settings file, and print what settings there are",
		Long:  "Check a settings file, and print what settings there are.\n\n" + exitHelp,
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		a.configCheckCommand(),
		a.configDocument("schema", "Print the JSON Schema of the settings file", config.Schema),
		a.configDocument("reference", "Print the description of all settings, in Markdown", config.Reference),
	)
	return cmd
}

func (a *app) configDocument(name, short string, text func() []byte) *cobra.Command {
	return &cobra.Command{
		Use: name, Short: short, Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return a.printf("%s", text()) },
	}
}

func (a *app) configCheckCommand() *cobra.Command {
	var o outputFlag
	var path string
	cmd := &cobra.Command{
		Use:   "check [file]",
		Short: "Check a settings file without starting anything",
		Long: `Check a settings file, and the environment variables that win over it, without starting anything.
Problems are listed with file, line and column; warnings do not make the check fail.
Without a file it checks the one that 'mcphub' would read.

` + exitHelp,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 1 && path != "" {
				return badUsage("name the file once: as an argument, or with --config")
			}
			return a.configCheck(strings.Join(append(args, path), ""), o.json())
		},
	}
	o.register(cmd)
	cmd.Flags().StringVar(&path, "config", "", "the settings file, as for 'mcphub'")
	return cmd
}

func (a *app) configCheck(path string, asJSON bool) error {
	s, err := a.loadSettings(path)
	if asJSON {
		if jsonErr := a.printCheck(s, err); jsonErr != nil {
			return jsonErr
		}
		return err
	}
	if err != nil {
		return err
	}
	for _, w := range s.Warnings {
		if _, err := fmt.Fprintf(a.stderr, "warning: %s\n", w); err != nil {
			return failed("write the warnings: %w", err)
		}
	}
	return a.printf("%s: %s\n", settingsName(s), describe(s))
}

// printCheck prints {valid, problems, warnings, settings}; the settings show no secrets.
func (a *app) printCheck(s *config.Settings, err error) error {
	out := struct {
		Valid    bool             `json:"valid"`
		Problems []config.Problem `json:"problems"`
		Warnings []string         `json:"warnings"`
		Settings *config.Settings `json:"settings,omitempty"`
	}{Valid: err == nil, Problems: []config.Problem{}, Warnings: []string{}, Settings: s}
	var problems config.Problems
	switch {
	case errors.As(err, &problems):
		out.Problems = problems
	case err != nil:
		out.Problems = append(out.Problems, config.Problem{Message: err.Error()})
	}
	if s != nil {
		out.Warnings = append(out.Warnings, s.Warnings...)
	}
	return a.printJSON(out)
}

// loadSettings reads the settings; every error is one of wrong settings.
func (a *app) loadSettings(path string) (*config.Settings, error) {
	s, err := config.Load(path, a.getenv)
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}
	return s, nil
}

func settingsName(s *config.Settings) string {
	if s.Path == "" {
		return "no settings file"
	}
	return s.Path
}

// describe says in one line what the settings amount to.
func describe(s *config.Settings) string {
	var on, off []string
	for _, srv := range s.Servers {
		if srv.Enabled {
			on = append(on, srv.Name)
		} else {
			off = append(off, srv.Name)
		}
	}
	text := fmt.Sprintf("fine. Mode %s, port %d, ", s.Mode, s.Port)
	switch len(on) {
	case 0:
		text += "no servers"
	case 1:
		text += "1 server: " + on[0]
	default:
		text += fmt.Sprintf("%d servers: %s", len(on), strings.Join(on, ", "))
	}
	if len(off) > 0 {
		text += "; disabled: " + strings.Join(off, ", ")
	}
	if s.Mode == config.Node {
		text += "; registers with " + s.Cluster.Node.CoordinatorURL
	}
	return text + "."
}
