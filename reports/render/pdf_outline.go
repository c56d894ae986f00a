package render

import (
	"math"
	"strconv"

	"github.com/go-text/typesetting/font/opentype"

	"github.com/meterd/meterd/reports/render/typeset"
)

// outline writes a shape as a path, in its font's units.
func outline(path []byte, g *typeset.Glyph) []byte {
	pen := pen{path: path, x: g.X, y: g.Y}
	var at opentype.SegmentPoint
	for i := range g.Outline {
		s := &g.Outline[i]
		a := s.Args
		switch s.Op {
		case opentype.SegmentOpMoveTo:
			pen.to(" m\n", a[0])
			at = a[0]
		case opentype.SegmentOpLineTo:
			pen.to(" l\n", a[0])
			at = a[0]
		case opentype.SegmentOpQuadTo: // a PDF has but cubic curves
			pen.to(" c\n", between(at, a[0]), between(a[1], a[0]), a[1])
			at = a[1]
		case opentype.SegmentOpCubeTo:
			pen.to(" c\n", a[0], a[1], a[2])
			at = a[2]
		}
	}
	return pen.path
}

// between is two thirds of the way to the point that draws a curve.
func between(from, to opentype.SegmentPoint) opentype.SegmentPoint {
	return opentype.SegmentPoint{X: from.X + (to.X-from.X)*2/3, Y: from.Y + (to.Y-from.Y)*2/3}
}

// pen writes points beside where its shape stands.
type pen struct {
	path []byte
	x, y float64
}

// to rounds to whole units: there are a thousand or more to a letter's size.
func (p *pen) to(op string, points ...opentype.SegmentPoint) {
	for i, at := range points {
		if i > 0 {
			p.path = append(p.path, ' ')
		}
		p.path = strconv.AppendInt(p.path, int64(math.Round(float64(at.X)+p.x)), 10)
		p.path = append(p.path, ' ')
		p.path = strconv.AppendInt(p.path, int64(math.Round(float64(at.Y)+p.y)), 10)
	}
	p.path = append(p.path, op...)
}
