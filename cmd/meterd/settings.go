package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"sort"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/meterd/meterd/internal/config"
)

// fileResolver gives flags the values of meterd.yaml, below the environment.
type fileResolver struct {
	file *config.File
}

// readSettings reads the configuration file: before the flags are parsed, for
// their values are taken from it.
func readSettings(args []string) (*fileResolver, error) {
	path, asked := "meterd.yaml", false
	if v := os.Getenv("METERD_CONFIG"); v != "" {
		path, asked = v, true
	}
	for i, arg := range args {
		if v, ok := strings.CutPrefix(arg, "--config="); ok {
			path, asked = v, true
		} else if arg == "--config" && i+1 < len(args) {
			path, asked = args[i+1], true
		}
	}
	file, err := config.Read(path, asked)
	if err != nil {
		return nil, err
	}
	return &fileResolver{file: file}, nil
}

// Validate implements kong.Resolver: the file's keys are flags.
func (r *fileResolver) Validate(app *kong.Application) error {
	known := map[string]bool{}
	_ = kong.Visit(app, func(n kong.Visitable, next kong.Next) error {
		if flag, ok := n.(*kong.Flag); ok {
			known[flag.Name] = true
		}
		return next(nil)
	})
	for _, key := range slices.Sorted(maps.Keys(r.file.Values)) {
		if !known[flagName(key)] {
			return fmt.Errorf("%s: unknown key %q: `meterd config` lists what there is", r.file.Path, key) //nolint:err113 // shown to whoever wrote the file
		}
	}
	return nil
}

// flagName of a key: both log_level and log-level are --log-level.
func flagName(key string) string { return strings.ReplaceAll(key, "_", "-") }

// blame names the file in an error about a value that came from it.
func (r *fileResolver) blame(err error, args []string) error {
	for key := range r.file.Values {
		flag := "--" + flagName(key)
		given := slices.ContainsFunc(args, func(a string) bool { return a == flag || strings.HasPrefix(a, flag+"=") })
		if rest, ok := strings.CutPrefix(err.Error(), flag); ok && !given && (rest == "" || strings.ContainsAny(rest[:1], ":=, ")) {
			return fmt.Errorf("%s: %s: %w", r.file.Path, key, err)
		}
	}
	return err
}

// Resolve implements kong.Resolver.
func (r *fileResolver) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	v, ok := r.value(flag.Name)
	if !ok || fromEnv(flag) {
		return nil, nil //nolint:nilnil // kong's way to say: not here
	}
	return textOf(v), nil
}

// textOf a value of the file, as it would be typed.
func textOf(v any) string {
	list, ok := v.([]any)
	if !ok {
		return fmt.Sprint(v)
	}
	parts := make([]string, len(list))
	for i, x := range list {
		parts[i] = fmt.Sprint(x)
	}
	return strings.Join(parts, ",")
}

func (r *fileResolver) value(name string) (any, bool) {
	if r.file == nil {
		return nil, false
	}
	v, ok := r.file.Values[name]
	if !ok {
		v, ok = r.file.Values[strings.ReplaceAll(name, "-", "_")]
	}
	return v, ok
}

func fromEnv(flag *kong.Flag) bool {
	for _, e := range flag.Envs {
		if _, ok := os.LookupEnv(e); ok {
			return true
		}
	}
	return false
}

// configCmd prints what holds.
type configCmd struct{}

// setting is one line of it.
type setting struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Source string `json:"source"` // flag, environment, file, default
	Env    string `json:"env,omitempty"`
	Help   string `json:"help"`
}

// Run implements the command.
func (configCmd) Run(a *app) error {
	list := settingsOf(a)
	if a.JSON {
		return a.printJSON(list)
	}
	t := a.table("NAME", "VALUE", "SOURCE", "ENVIRONMENT")
	for _, s := range list {
		t.AppendRow([]any{s.Name, s.Value, s.Source, s.Env})
	}
	a.render(t)
	return nil
}

// settingsOf lists the global flags and those of up and worker.
func settingsOf(a *app) []setting {
	given := map[string]bool{}
	for _, p := range a.parsed.Path {
		if p.Flag != nil && !p.Resolved {
			given[p.Flag.Name] = true
		}
	}
	resolver := &fileResolver{file: a.file}
	seen := map[string]bool{}
	var out []setting
	add := func(f *kong.Flag) {
		if seen[f.Name] || f.Name == "help" {
			return
		}
		seen[f.Name] = true
		s := setting{Name: f.Name, Source: "default", Help: f.Help}
		if len(f.Envs) > 0 {
			s.Env = f.Envs[0]
		}
		s.Value = fmt.Sprint(f.Target.Interface())
		v, inFile := resolver.value(f.Name)
		switch {
		case given[f.Name]:
			s.Source = "flag"
		case fromEnv(f):
			s.Source, s.Value = "environment", os.Getenv(f.Envs[0])
		case inFile:
			s.Source, s.Value = a.file.Path, textOf(v)
		case s.Value == "" || f.Target.IsZero():
			s.Value = f.Default
		}
		s.Value = hideSecret(s.Value)
		out = append(out, s)
	}
	for _, f := range a.parsed.Model.Flags {
		add(f)
	}
	for _, n := range a.parsed.Model.Children {
		if n.Name == "up" || n.Name == "worker" {
			for _, f := range n.Flags {
				add(f)
			}
		}
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

// hideSecret hides the password of an address, and what follows a "?".
func hideSecret(v string) string {
	prefix := ""
	rest := v
	if scheme, r, ok := strings.Cut(v, "://"); ok {
		prefix, rest = scheme+"://", r
	}
	if at := strings.LastIndex(rest, "@"); at >= 0 {
		user, _, has := strings.Cut(rest[:at], ":")
		if has {
			rest = user + ":" + config.Secret("x").String() + rest[at:]
		}
	}
	if prefix != "" {
		if before, _, ok := strings.Cut(rest, "?"); ok {
			rest = before + "?" + config.Secret("x").String()
		}
	}
	return prefix + rest
}
