//go:build race

package worker

// simSchedules where the race detector makes each take several times as long.
const simSchedules = 500
