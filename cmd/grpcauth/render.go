// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// format writes rules and changes.
type format struct {
	rules   func(io.Writer, []row) error
	changes func(io.Writer, []change) error
}

var formats = map[string]format{
	"table":    {func(w io.Writer, rows []row) error { return table(w, ruleCells(rows)) }, func(w io.Writer, c []change) error { return table(w, changeCells(c)) }},
	"markdown": {func(w io.Writer, rows []row) error { return markdown(w, ruleCells(rows)) }, func(w io.Writer, c []change) error { return markdown(w, changeCells(c)) }},
	"json":     {func(w io.Writer, rows []row) error { return document(w, "methods", rows) }, func(w io.Writer, c []change) error { return document(w, "changes", c) }},
}

func ruleCells(rows []row) [][]string {
	cells := [][]string{{"METHOD", "RULE", "ASKS"}}
	for _, r := range rows {
		cells = append(cells, []string{r.Method, cmp.Or(r.From, "(none)"), r.describe()})
	}
	return cells
}

func changeCells(changes []change) [][]string {
	cells := [][]string{{"METHOD", "CHANGE", "OLD", "NEW"}}
	for _, c := range changes {
		what := "same callers"
		switch {
		case c.Gains && c.Loses:
			what = "gains and loses"
		case c.Gains:
			what = "gains"
		case c.Loses:
			what = "loses"
		}
		cells = append(cells, []string{c.Method, what, c.Old.describe(), c.New.describe()})
	}
	return cells
}

func table(out io.Writer, cells [][]string) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, line := range cells {
		if _, err := fmt.Fprintln(w, strings.Join(line, "\t")); err != nil {
			return err
		}
	}
	return w.Flush()
}

func markdown(out io.Writer, cells [][]string) error {
	for i, line := range cells {
		for k := range line {
			line[k] = strings.ReplaceAll(line[k], "|", `\|`)
		}
		if _, err := fmt.Fprintf(out, "| %s |\n", strings.Join(line, " | ")); err != nil {
			return err
		}
		if i == 0 {
			if _, err := fmt.Fprintf(out, "|%s\n", strings.Repeat("---|", len(line))); err != nil {
				return err
			}
		}
	}
	return nil
}

// document writes a list as a member of an object, so that others can be added. There is always a list, also an empty one.
func document[T any](w io.Writer, name string, list []T) error {
	if list == nil {
		list = []T{}
	}
	text, err := json.MarshalIndent(map[string]any{name: list}, "", "  ")
	if err == nil {
		_, err = w.Write(append(text, '\n'))
	}
	return err
}
