//go:build race

package worker

// simSchedules where the race detector makes each take three times as long.
const simSchedules = 2500
