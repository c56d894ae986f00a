// Package bodies keeps the memory of large requests from one to the next: its
// pages cost more than filling them.
package bodies

import (
	"bytes"
	"sync"
)

// keptMax is the largest that is kept.
const keptMax = 64 << 20

var pool = sync.Pool{New: func() any { return new(bytes.Buffer) }} //nolint:gochecknoglobals // a pool

// Get returns an empty buffer. Give it back with Put.
func Get() *bytes.Buffer {
	b, _ := pool.Get().(*bytes.Buffer)
	return b
}

// Put takes a buffer that nobody reads any more.
func Put(b *bytes.Buffer) {
	if b.Cap() <= keptMax {
		b.Reset()
		pool.Put(b)
	}
}
