// Package figures measures what meterd says of its speed, on the machine that
// it runs on, with what it is compared with in the same run. `meterd bench`
// prints what it returns. Each measurement starts a system of its own, with an
// empty folder, and works with it through its commands, its Go client and its
// gate, as users do.
//
// Times of one machine say little about another; the ratios say more, and only
// they are tested.
package figures
