package admin

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Bounds of one file: how many faults are told and kept, and how many mappings
// are read (aliases can make a short file long).
const (
	errorsMax   = 50
	faultsMax   = 10_000
	mappingsMax = 4_000_000
)

// faults collects what is wrong with a file.
type faults struct {
	file string
	list []*FileError
	more int // faults beyond faultsMax
}

func (f *faults) fail(at place, format string, args ...any) {
	if len(f.list) == faultsMax {
		f.more++
		return
	}
	f.list = append(f.list, &FileError{f.file, at.line, at.column, at.field, fmt.Sprintf(format, args...)})
}

// err is a *AccountsFileError, nil when nothing is wrong.
func (f *faults) err(state bool) error {
	if len(f.list) == 0 {
		return nil
	}
	slices.SortStableFunc(f.list, func(a, b *FileError) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	e := &AccountsFileError{Errors: f.list, State: state}
	if len(f.list) > errorsMax {
		e.Errors, e.More = f.list[:errorsMax], len(f.list)-errorsMax+f.more
	}
	return e
}

// fileReader walks the YAML tree: the text of each scalar as it is written, so
// that no number ever becomes a float, and the place of each value.
type fileReader struct {
	faults
	anchors  map[string]ast.Node
	mappings int
}

// parse reads the one document of a file.
func (r *fileReader) parse(src []byte) (root ast.Node, ok bool) {
	top := place{line: 1, column: 1}
	defer func() {
		if p := recover(); p != nil { // the parser gives up on some broken input
			r.fail(top, "not valid YAML; see examples/accounts.yaml")
			root, ok = nil, false
		}
	}()
	file, err := parser.ParseBytes(src, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		var y yaml.Error
		if errors.As(err, &y) && y.GetToken() != nil {
			r.fail(at(y.GetToken(), ""), "not valid YAML: %s", y.GetMessage())
		} else {
			r.fail(top, "not valid YAML; see examples/accounts.yaml")
		}
		return nil, false
	}
	for _, doc := range file.Docs {
		if doc == nil || doc.Body == nil {
			continue
		}
		if root != nil {
			r.fail(at(doc.Body.GetToken(), ""), "a second YAML document; put all into one")
			return nil, false
		}
		root = doc.Body
	}
	if root == nil || root.Type() == ast.NullType {
		r.fail(top, "no plans and no parents; see examples/accounts.yaml")
		return nil, false
	}
	r.anchors = map[string]ast.Node{}
	ast.Walk(anchorVisitor{r.anchors}, root)
	return root, true
}

// anchorVisitor collects what anchors name.
type anchorVisitor struct{ anchors map[string]ast.Node }

// Visit implements ast.Visitor.
func (v anchorVisitor) Visit(n ast.Node) ast.Visitor {
	if a, ok := n.(*ast.AnchorNode); ok && a.Name != nil {
		v.anchors[a.Name.GetToken().Value] = a.Value
	}
	return v
}

// at is the place of a token.
func at(t *token.Token, field string) place {
	if t == nil || t.Position == nil {
		return place{1, 1, field}
	}
	return place{max(t.Position.Line, 1), max(t.Position.Column, 1), field}
}

// deref follows anchors, aliases and tags to a value; nil for null, and for an
// alias of nothing, which is a fault.
func (r *fileReader) deref(n ast.Node, field string) ast.Node {
	const hopsMax = 100 // an alias of itself
	for range hopsMax {
		switch x := n.(type) {
		case *ast.AnchorNode:
			n = x.Value
		case *ast.AliasNode:
			name := ""
			if x.Value != nil {
				name = x.Value.GetToken().Value
			}
			target, ok := r.anchors[name]
			if !ok {
				r.fail(at(x.Start, field), "alias *%s names no anchor; define &%s, or write the value out", name, name)
				return nil
			}
			n = target
		case *ast.TagNode:
			r.fail(at(x.Start, field), "a YAML tag; leave it out")
			n = x.Value
		case *ast.NullNode, nil:
			return nil
		default:
			return n
		}
	}
	return nil
}

// mapping is a YAML mapping whose keys are known.
type mapping struct {
	r      *fileReader
	at     place
	values map[string]ast.Node // without nulls
}

// mapping reads a mapping with the keys that it may have. Unknown and double
// keys are faults. false when n is something else.
func (r *fileReader) mapping(n ast.Node, where place, known ...string) (mapping, bool) {
	m := mapping{r: r, at: where, values: map[string]ast.Node{}}
	if r.mappings++; r.mappings > mappingsMax {
		r.fail(where, "too many entries; write fewer aliases, or split the file")
		return m, false
	}
	var pairs []*ast.MappingValueNode
	switch x := r.deref(n, where.field).(type) {
	case *ast.MappingNode:
		pairs = x.Values
	case *ast.MappingValueNode:
		pairs = []*ast.MappingValueNode{x}
	default:
		r.fail(where, "not a mapping; give %s", strings.Join(known, ", "))
		return m, false
	}
	seen := map[string]int{}
	for _, p := range pairs {
		pos := at(p.Key.GetToken(), where.field)
		key, ok := scalar(p.Key)
		if !ok || !slices.Contains(known, key) {
			r.fail(pos, "unknown key %q; known are %s", key, strings.Join(known, ", "))
			continue
		}
		if line, twice := seen[key]; twice {
			r.fail(pos, "key %s stands here twice, first in line %d; keep one", key, line)
			continue
		}
		seen[key] = pos.line
		if v := r.deref(p.Value, join(where.field, key)); v != nil {
			m.values[key] = v
		}
	}
	return m, true
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// place of a key's value, or of the mapping where it is absent.
func (m *mapping) place(key string) place {
	p := m.at
	if n := m.values[key]; n != nil {
		p = at(start(n), "")
	}
	p.field = join(m.at.field, key)
	return p
}

// start is the first token of a value.
func start(n ast.Node) *token.Token {
	switch x := n.(type) {
	case *ast.MappingNode:
		if !x.IsFlowStyle && len(x.Values) > 0 {
			return x.Values[0].Key.GetToken()
		}
		return x.Start
	case *ast.MappingValueNode:
		return x.Key.GetToken()
	}
	return n.GetToken()
}

// text of a scalar, as it is written. A mapping or list is a fault.
func (m *mapping) text(key string) located[string] {
	out := located[string]{at: m.place(key)}
	n := m.values[key]
	if n == nil {
		return out
	}
	if out.v, out.set = scalar(n); !out.set {
		m.r.fail(out.at, "not a single value; give one")
	}
	return out
}

// required is text that must be there and not be empty.
func (m *mapping) required(key, what string) located[string] {
	out := m.text(key)
	if out.v == "" && (out.set || m.values[key] == nil) {
		m.r.fail(out.at, "missing; give %s", what)
		out.set = false
	}
	return out
}

// items of a list, with their places; nil and false when it is absent.
func (m *mapping) items(key string) (nodes []ast.Node, places []place, set bool) {
	n := m.values[key]
	if n == nil {
		return nil, nil, false
	}
	where := m.place(key)
	list, ok := n.(*ast.SequenceNode)
	if !ok {
		m.r.fail(where, "not a list; give one such as [a, b]")
		return nil, nil, false
	}
	for i, v := range list.Values {
		field := fmt.Sprintf("%s[%d]", where.field, i)
		p := place{where.line, where.column, field}
		x := m.r.deref(v, field)
		if x != nil {
			p = at(start(x), field)
		}
		nodes, places = append(nodes, x), append(places, p)
	}
	return nodes, places, true
}

// texts of a list of scalars.
func (m *mapping) texts(key string) (out []located[string], set bool) {
	nodes, places, set := m.items(key)
	for i, n := range nodes {
		v, ok := scalar(n)
		if !ok {
			m.r.fail(places[i], "not a single value; give one")
			continue
		}
		out = append(out, located[string]{v, true, places[i]})
	}
	return out, set
}

// scalar is the text of a scalar as it is written.
func scalar(n ast.Node) (string, bool) {
	switch x := n.(type) {
	case *ast.StringNode:
		return x.Value, true
	case *ast.LiteralNode:
		return x.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return x.GetToken().Value, true
	}
	return "", false
}
