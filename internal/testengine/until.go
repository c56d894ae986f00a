package testengine

import "time"

// Pauses between two questions of Until.
const (
	pauseFirst = 10 * time.Millisecond
	pauseMost  = 250 * time.Millisecond
)

// Until asks ok until it says yes, less and less often: a question to an engine
// costs more than the wait for its answer's change. false: not within that time.
func Until(within time.Duration, ok func() bool) bool {
	deadline := time.After(within)
	for pause := pauseFirst; !ok(); pause = min(pause*5/4, pauseMost) {
		select {
		case <-time.After(pause):
		case <-deadline:
			return false
		}
	}
	return true
}
