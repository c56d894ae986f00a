// Package reports makes what parents, sub-accounts and a parent's staff read:
// build, redact, render, deliver. A reader without sight of money gets a type
// of its own, which has no field for any, built from a query that selects none
// (docs/domain.md, Who sees what); nothing is made by blanking a fuller report.
//
// All money comes from the ledger's rows, and every total is the sum of the
// lines beside it. Live balances aren't asked for: what a purse holds is its
// opening balance, movements and charges, so that a reader can add it up.
//
// It is a part of meterd, and no stable interface.
package reports
