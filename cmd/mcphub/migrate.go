package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/mcphub-go/mcphub/migrations"
	"github.com/mcphub-go/mcphub/store"
)

func (a *app) migrateCommand() *cobra.Command {
	var file string
	var dryRun bool
	var o outputFlag
	var logs logFlags
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Bring the data in Redis to the form that this release writes",
		Long: `Bring the data in Redis to the form that this release writes. It finds Redis like 'mcphub' does, in
the settings or $REDIS_URL. It is safe to repeat, and safe while coordinators run.

` + exitHelp,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := logs.logger(a.stderr)
			if err != nil {
				return err
			}
			return a.migrate(cmd.Context(), file, dryRun, o.json(), log)
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "settings `file`")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be done")
	_ = cmd.MarkFlagFilename("config", "json")
	o.register(cmd)
	logs.register(cmd, "warn")
	return cmd
}

func (a *app) migrate(ctx context.Context, file string, dryRun, asJSON bool, log *slog.Logger) error {
	settings, err := a.loadSettings(file)
	if err != nil {
		return err
	}
	redisURL := settings.Cluster.Redis.URL.Reveal()
	if redisURL == "" {
		return badUsage("there is no Redis to migrate: set cluster.redis.url or REDIS_URL; an embedded Redis is always new")
	}
	steps, err := migrate(ctx, storeConfig(settings, redisURL, log), dryRun)
	switch {
	case errors.Is(err, store.ErrInvalid):
		return badUsage("%w", err)
	case errors.Is(err, migrations.ErrNewer), errors.Is(err, migrations.ErrBusy), errors.Is(err, migrations.ErrDamaged):
		return failed("%w", err)
	case errors.Is(err, context.Canceled):
		return failed("interrupted; run it again to go on")
	case err != nil:
		return unreachable("cannot work on Redis: %w", err)
	}
	if asJSON {
		out := []map[string]any{}
		for _, s := range steps {
			out = append(out, map[string]any{"number": s.Number, "name": s.Name, "keys": s.Keys, "changed": s.Changed})
		}
		return a.printJSON(map[string]any{"dryRun": dryRun, "schema": migrations.Latest(), "steps": out})
	}
	return a.printSteps(steps, dryRun)
}

func (a *app) printSteps(steps []migrations.Step, dryRun bool) error {
	if len(steps) == 0 {
		return a.printf("Nothing to do: the data has number %d, the newest that this release knows.\n", migrations.Latest())
	}
	verb, t := "Done", table{head: []string{"MIGRATION", "KEYS", "CHANGED"}}
	if dryRun {
		verb = "Not done, as this is a dry run"
	}
	for _, s := range steps {
		t.add(s.Name, s.Keys, s.Changed)
	}
	if err := a.printTable(t, ""); err != nil {
		return err
	}
	return a.printf("%s: %d of %d.\n", verb, len(steps), migrations.Latest())
}

// migrate runs what is missing in the Redis that cfg names.
func migrate(ctx context.Context, cfg store.Config, dryRun bool) ([]migrations.Step, error) {
	rdb, err := store.NewClient(cfg)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rdb.Close() }() // everything has been answered
	log := cfg.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	steps, err := migrations.New(rdb, cfg.KeyPrefix, log).Run(ctx, dryRun)
	if err != nil {
		return steps, fmt.Errorf("migrate: %w", err)
	}
	return steps, nil
}
