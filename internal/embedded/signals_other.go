//go:build !linux

package embedded

// keepSignals runs f. Where the engine's reset of the deadly signals can't be
// undone, a nil dereference kills the process instead of becoming a panic.
func keepSignals(f func()) { f() }
