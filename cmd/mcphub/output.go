package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra"
)

// outputFlag is -o: table for people, json for programs.
type outputFlag struct{ value string }

func (o *outputFlag) register(cmd *cobra.Command) {
	o.value = "table"
	cmd.Flags().VarP(o, "output", "o", "`format`: table or json")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json"}, cobra.ShellCompDirectiveNoFileComp))
}

func (o *outputFlag) json() bool     { return o.value == "json" }
func (o *outputFlag) String() string { return o.value }
func (o *outputFlag) Type() string   { return "string" }

// Set implements pflag.Value.
func (o *outputFlag) Set(s string) error {
	if s != "table" && s != "json" {
		return fmt.Errorf("want table or json")
	}
	o.value = s
	return nil
}

// printf writes to stdout; a reader that has gone away (head, a closed pipe) is a failure.
func (a *app) printf(format string, args ...any) error {
	if _, err := fmt.Fprintf(a.stdout, format, args...); err != nil {
		return failed("write the answer: %w", err)
	}
	return nil
}

// printJSON writes v, indented, keeping numbers as they came when v is raw.
func (a *app) printJSON(v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return failed("encode the answer: %w", err)
	}
	var buf bytes.Buffer
	if err := json.Indent(&buf, raw, "", "  "); err != nil {
		return failed("encode the answer: %w", err)
	}
	return a.printf("%s\n", buf.Bytes())
}

// table aligns rows for people. Cells may come from strangers and are made plain.
type table struct {
	head []string
	rows [][]string
}

func (t *table) add(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		if row[i] = plain(fmt.Sprint(c)); row[i] == "" {
			row[i] = "-"
		}
	}
	t.rows = append(t.rows, row)
}

// print writes the table, or the sentence none if it has no rows.
func (a *app) printTable(t table, none string) error {
	if len(t.rows) == 0 {
		return a.printf("%s\n", none)
	}
	var buf bytes.Buffer
	w := tabwriter.NewWriter(&buf, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{t.head}, t.rows...) {
		_, _ = fmt.Fprintln(w, strings.Join(row, "\t")) // a Buffer takes everything
	}
	_ = w.Flush()
	var out strings.Builder
	for line := range strings.Lines(buf.String()) {
		out.WriteString(strings.TrimRight(line, " \n"))
		out.WriteByte('\n')
	}
	return a.printf("%s", out.String())
}

// plain replaces what could move a terminal's cursor or break a column: control and format
// characters become a blank.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, s)
}

// plainText is plain for text of several lines: line breaks and tabs stay.
func plainText(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return r
		}
		return []rune(plain(string(r)))[0]
	}, s)
}

// ago says how long before now an instant in Unix milliseconds was. The two clocks may
// belong to two machines, so a small negative age is "now".
func (a *app) ago(ms int64) string {
	if ms <= 0 {
		return "-"
	}
	d := a.now().Sub(time.UnixMilli(ms))
	switch {
	case d < time.Second:
		return "now"
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	default:
		return fmt.Sprintf("%dd%02dh", int(d.Hours())/24, int(d.Hours())%24)
	}
}
