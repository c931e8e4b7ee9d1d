package migrations

import (
	"embed"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

//go:embed *.lua
var files embed.FS

// all are the migrations of this release, in order.
var all = mustLoad(files)

// Migration is one numbered change.
type Migration struct {
	Number int
	Name   string // of its file: 0001_schema
	// Match is the pattern of the keys it visits, below the prefix; empty if it runs once.
	Match  string
	script *redis.Script
}

// Latest is the number of the newest migration, and of the data that this release writes.
func Latest() int { return len(all) }

// List returns the migrations of this release, in order.
func List() []Migration { return slices.Clone(all) }

func mustLoad(dir fs.FS) []Migration {
	list, err := load(dir)
	if err != nil {
		panic(err) // cannot happen: the files are part of the build, and a test loads them
	}
	return list
}

// load reads the migrations of a folder and insists on numbers without gaps.
func load(dir fs.FS) ([]Migration, error) {
	names, err := fs.Glob(dir, "*.lua")
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var list []Migration
	for _, name := range names {
		src, err := fs.ReadFile(dir, name)
		if err != nil {
			return nil, err
		}
		number, rest, _ := strings.Cut(name, "_")
		n, err := strconv.Atoi(number)
		if err != nil || len(number) != 4 || rest == "" || n != len(list)+1 {
			return nil, fmt.Errorf("migration %s: want number %04d, an underscore and a name", name, len(list)+1)
		}
		m := Migration{Number: n, Name: strings.TrimSuffix(name, ".lua"), script: redis.NewScript(string(src))}
		for line := range strings.Lines(string(src)) {
			if pattern, ok := strings.CutPrefix(line, "-- Match: "); ok {
				m.Match = strings.TrimSpace(pattern)
			}
		}
		list = append(list, m)
	}
	return list, nil
}
