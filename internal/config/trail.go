package config

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxLinks is how many symbolic links are followed on the way to a file.
const maxLinks = 40

// trail lists the entries of folders that decide which file an absolute path names: each
// symbolic link on the way, and at the end the file itself, or the first entry that is not
// there. When none of them has changed, path names the same file.
func trail(path string) []string {
	separator := string(filepath.Separator)
	top := filepath.VolumeName(path) + separator
	split := func(p string) []string { return strings.Split(strings.TrimPrefix(p, top), separator) }
	var entries []string
	folder, rest := top, split(filepath.Clean(path))
	for links := 0; len(rest) > 0 && links <= maxLinks; {
		entry := filepath.Join(folder, rest[0]) // folder has no links, so ".." is its parent
		rest = rest[1:]
		info, err := os.Lstat(entry)
		switch {
		case err != nil:
			return append(entries, entry)
		case info.Mode()&fs.ModeSymlink != 0:
			links++
			entries = append(entries, entry)
			link, err := os.Readlink(entry)
			if err != nil {
				return entries
			}
			if filepath.IsAbs(link) {
				folder = top
			}
			rest = append(split(filepath.Clean(link)), rest...)
		case len(rest) == 0:
			entries = append(entries, entry)
		default:
			folder = entry
		}
	}
	return entries
}
