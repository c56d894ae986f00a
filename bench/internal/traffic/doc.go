// Package traffic makes seeded usage records for the tests of the whole, and
// works out what meterd must answer to them with no code of meterd's: the
// oracle. It knows accounts and price plans as text, and no engine.
package traffic
