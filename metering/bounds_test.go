package metering

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// TestBoundsHoldToEachOther: who changes a bound learns what relies on it.
func TestBoundsHoldToEachOther(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		less, more time.Duration
		why        string
	}{
		{SendMax + InsertMax + InsertEndMax, LandMax, "no row lands later than LandMax after its charge"},
		{LandMax + ClocksMax, GiveUpAfter, "by any clock, nothing of an answer is on its way when it is given up: else its row would land beside a forced charge's"},
		{LookedMax, DedupSpare, "what was charged since a look-up stands in a set that the charge asks: it is in this generation or the one before"},
		{FutureMax + time.Second, VersionLead, "no record can be of a version's time before the version is applied"},
		{FutureMax, LandMax, "what an older projection has charged, however far ahead, is cold in a new one"},
		{RefAsked + 24*time.Hour, RefKept, "a reference is asked of Redis only while it knows it, however long the call takes"},
		{ClocksMax, FutureMax, "clocks that are so far apart refuse no record"},
	} {
		assert.LessOrEqual(t, c.less, c.more, c.why)
	}
}
