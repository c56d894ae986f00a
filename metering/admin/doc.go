// Package admin is what changes by hand: the accounts file, the snapshot that
// workers hold, transfers, manual suspensions, closing. Each change is durable
// in the ledger, and stands in Redis, before it is reported.
//
// It is a part of meterd, and no stable interface.
package admin
