// Package proc builds meterd for tests of the whole, runs it in the foreground,
// and ends it: cleanly, or as a power cut would.
package proc
