//go:build !race

package worker

// simSchedules of a run without the race detector.
const simSchedules = 10_000
