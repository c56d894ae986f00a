// Package e2e holds the tests of the whole: they run the real binary and its
// commands, and compare what it answers with figures of their own. It has no
// code of its own.
package e2e
