// Package balance is the Redis projection: balances, usage, limits, states,
// dedup sets, open answers and the outbox, one partition for each group of
// parents. Every change is one Lua script (lua/*.lua, contract in its header)
// with one typed caller here. The projection can be rebuilt from the ledger;
// what it may lose, and when, is in docs/protocol.md, Epochs and rebuilds.
//
// It is a part of meterd, and no stable interface.
package balance
