package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/meterd/meterd/jobs/importer"
	"github.com/meterd/meterd/metering"
)

// errAccountMap says what such a file is.
var errAccountMap = errors.New("want lines such as AC0123: acme-marketing")

// accountMap reads a YAML file of the platform's accounts and ours. Both stay as
// they are written: as YAML 00123456 and 1e5 are numbers, and no is a truth value.
func accountMap(name string) (map[string]string, error) {
	file, err := os.Open(name) //nolint:gosec // the user names it
	if err != nil {
		return nil, wrongInput("--account-map: %w", err)
	}
	defer func() { _ = file.Close() }()
	text, err := importer.Text(file)
	if err != nil {
		return nil, wrongInput("--account-map: %s: %w", name, err)
	}
	src, err := io.ReadAll(text)
	if err != nil {
		return nil, wrongInput("--account-map: %w", err)
	}
	pairs, err := yamlPairs(src)
	if err != nil {
		return nil, wrongInput("--account-map: %s: %w: %s", name, errAccountMap, yaml.FormatError(err, false, false))
	}
	out := map[string]string{}
	for _, p := range pairs {
		line := p.Key.GetToken().Position.Line
		theirs, ok := written(p.Key)
		ours, single := written(p.Value)
		if !ok || !single || !metering.ValidID(ours) {
			return nil, wrongInput("--account-map: %s, line %d: %w", name, line, errAccountMap)
		}
		if _, twice := out[theirs]; twice { // in another document of the file
			return nil, wrongInput("--account-map: %s, line %d: %q is there twice; keep one", name, line, theirs)
		}
		out[theirs] = ours
	}
	return out, nil
}

// yamlPairs are the entries of the mappings that a file holds.
func yamlPairs(src []byte) (pairs []*ast.MappingValueNode, err error) {
	defer func() {
		if p := recover(); p != nil { // the parser gives up on some broken input
			err = fmt.Errorf("not valid YAML: %w", errAccountMap)
		}
	}()
	file, err := parser.ParseBytes(src, 0)
	if err != nil {
		return nil, err //nolint:wrapcheck // the caller formats it
	}
	for _, doc := range file.Docs {
		switch x := doc.Body.(type) {
		case *ast.MappingNode:
			pairs = append(pairs, x.Values...)
		case *ast.MappingValueNode:
			pairs = append(pairs, x)
		case nil, *ast.CommentGroupNode:
		default:
			return nil, errAccountMap
		}
	}
	return pairs, nil
}

// written is a scalar as it stands.
func written(n ast.Node) (string, bool) {
	switch n.(type) {
	case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode, *ast.NullNode:
		t := n.GetToken()
		return t.Value, t.Type != token.ImplicitNullType // nothing is written there
	}
	return "", false
}
