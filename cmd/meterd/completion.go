package main

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

//go:embed completion.bash
var completionBash string

//go:embed completion.fish
var completionFish string

// completionCmd prints what makes a shell complete commands and flags. The
// libraries for it that fit the parser have had no release for years.
type completionCmd struct {
	Shell string `arg:"" help:"bash, zsh or fish." enum:"bash,zsh,fish"`
}

// Run implements the command.
func (c *completionCmd) Run(a *app) error {
	var words strings.Builder
	completions(a.parsed.Model.Node, "", &words)
	script := completionBash
	switch c.Shell {
	case "zsh": // it runs bash's
		script = "#compdef meterd\nautoload -U +X bashcompinit && bashcompinit\n" + script
	case "fish":
		script = completionFish
	}
	_, err := fmt.Fprint(a.out, strings.Replace(script, "@WORDS@", strings.TrimSuffix(words.String(), "\n"), 1))
	return err //nolint:wrapcheck // the output's
}

// completions writes a line for each command: its path, a colon, and what may
// follow it.
func completions(n *kong.Node, path string, out *strings.Builder) {
	var words []string
	for _, child := range n.Children {
		if child.Type == kong.CommandNode && !child.Hidden {
			words = append(words, child.Name)
		}
	}
	for _, group := range n.AllFlags(true) {
		for _, f := range group {
			words = append(words, "--"+f.Name)
		}
	}
	for _, p := range n.Positional {
		words = append(words, p.EnumSlice()...)
	}
	words = slices.DeleteFunc(words, func(w string) bool { return w == "" })
	_, _ = fmt.Fprintf(out, "%s:%s\n", path, strings.Join(words, " ")) // never fails
	for _, child := range n.Children {
		if child.Type == kong.CommandNode && !child.Hidden {
			completions(child, strings.TrimPrefix(path+" "+child.Name, " "), out)
		}
	}
}
