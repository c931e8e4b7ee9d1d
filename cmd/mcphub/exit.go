package main

import (
	"errors"
	"fmt"
	"strings"
)

// Exit codes. They are part of the help text of every command.
const (
	exitOK          = 0
	exitFailed      = 1 // the hub said no, a tool reported an error, something is unhealthy
	exitUsage       = 2 // the command line or the settings are wrong
	exitUnreachable = 3 // no hub answers at the address
)

const exitHelp = `Exit codes: 0 done, 1 failed or unhealthy, 2 wrong usage or settings, 3 no hub answers.`

// exitError carries the exit code of an error.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func failed(format string, args ...any) error {
	return &exitError{exitFailed, fmt.Errorf(format, args...)}
}

func badUsage(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

func unreachable(format string, args ...any) error {
	return &exitError{exitUnreachable, fmt.Errorf(format, args...)}
}

// exitCode finds the code of an error. What cobra itself refuses is wrong usage: every
// command of ours returns an exitError.
func exitCode(err error) int {
	var ee *exitError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &ee):
		return ee.code
	default:
		return exitUsage
	}
}

// sentence makes one line of an error's text: cobra adds suggestions on lines of their own.
func sentence(err error) string {
	lines := strings.Split(err.Error(), "\n")
	var kept []string
	for _, l := range lines {
		if l = strings.TrimSpace(l); l != "" && !strings.HasPrefix(l, "Run '") {
			kept = append(kept, l)
		}
	}
	return strings.Join(kept, " ")
}
