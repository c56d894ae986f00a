// Package quietlog keeps a log readable while something is broken: of lines of one
// kind the first is written at once, the others are counted and summed up once a
// minute, and whatever comes, the lines of a minute are bounded. It decides what is
// written and when, never how: that is the handler's behind it.
//
// Lines are of one kind that say the same but for numbers, addresses and ids, or that
// name the same Cause. Each line stands for one occurrence and, with again=N, for N
// more that were held back since=TIME: nothing is dropped uncounted.
package quietlog
