// Package arch holds the rules of the repository that only a test can keep:
// which room may import which, that every package says what it is for, and
// that no Lua script or query lies unused.
package arch
