package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"github.com/mcphub-go/mcphub/internal/config"
)

// app is what the commands share: the streams, the environment and the clock.
type app struct {
	getenv func(string) string
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
	now    func() time.Time
}

// run executes one command line and returns its exit code. It returns when ctx ends, after
// everything it started has stopped. Errors go to stderr as one sentence, except that
// settings with several problems are listed one to a line.
func run(ctx context.Context, args []string, getenv func(string) string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{getenv: getenv, stdin: stdin, stdout: stdout, stderr: stderr, now: time.Now}
	return a.run(ctx, args)
}

func (a *app) run(ctx context.Context, args []string) int {
	root := a.rootCommand()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	code := exitCode(err)
	var problems config.Problems
	switch {
	case err == nil:
	case errors.As(err, &problems):
		_, _ = fmt.Fprintln(a.stderr, problems)
	default:
		_, _ = fmt.Fprintf(a.stderr, "mcphub: %s\n", sentence(err))
		var ee *exitError
		if code == exitUsage && !errors.As(err, &ee) {
			_, _ = fmt.Fprintf(a.stderr, "Run '%s --help' for usage.\n", cmd.CommandPath())
		}
	}
	return code
}

func (a *app) rootCommand() *cobra.Command {
	var s serveFlags
	root := &cobra.Command{
		Use:   "mcphub",
		Short: "Runs MCP servers on many machines and shows them to AI clients as one",
		Long: `mcphub runs MCP servers on many machines and shows them to AI clients as one.

Without a command it serves what the settings file says: standalone (the default: coordinator
and node in one process), a coordinator, or a node. The file is --config, else $MCPHUB_SETTINGS,
else mcp_settings.json in this folder; $PORT, $REDIS_URL and $MCPHUB_CLUSTER_SECRET win over it.

` + exitHelp,
		Example: `  mcphub demo                               a whole small cluster, to try things on
  mcphub --config worker.json --port 3001   serve
  mcphub nodes --url http://10.0.0.1:3000   look at a running hub`,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return a.serve(cmd.Context(), s) },
	}
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	s.register(root)
	root.AddCommand(
		a.demoCommand(), a.statusCommand(), a.nodesCommand(), a.serversCommand(), a.sessionsCommand(),
		a.groupsCommand(), a.coordinatorsCommand(), a.eventsCommand(), a.explainCommand(),
		a.joinCommand(), a.toolsCommand(), a.callCommand(), a.configCommand(), a.migrateCommand(), a.healthCommand(),
		a.versionCommand(),
	)
	return root
}

func (a *app) versionCommand() *cobra.Command {
	var o outputFlag
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if o.json() {
				return a.printJSON(map[string]string{"version": ourVersion()})
			}
			return a.printf("mcphub %s\n", ourVersion())
		},
	}
	o.register(cmd)
	return cmd
}

// ourVersion is what the linker set, else what the module system knows, else "dev".
func ourVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "(devel)" {
		return cmp.Or(info.Main.Version, "dev")
	}
	return "dev"
}
