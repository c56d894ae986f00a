package doctor

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRoomOnDisksAndInMemory(t *testing.T) {
	t.Parallel()
	const gib = 1 << 30
	require.NoError(t, tight("/d", 2*gib, 1000*gib))
	require.EqualError(t, tight("/d", 2*gib-1, 1000*gib), "/d has 1.9 GiB free of 1000.0 GiB: free some, or nothing can be stored soon")
	require.NoError(t, tight("/d", gib/2, 10*gib))
	require.Error(t, tight("/d", gib/2-1, 10*gib))
	require.NoError(t, short("this machine", 5, 100))
	require.Error(t, short("this machine", 4, 100))

	available, total := meminfo("MemTotal:       24000000 kB\nMemFree:  1 kB\nMemAvailable:   12000000 kB\n")
	require.Equal(t, []int64{12_000_000 << 10, 24_000_000 << 10}, []int64{available, total})
}

func TestClocksApart(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct{ theirs, want time.Duration }{
		{0, 0}, {-time.Second, 0}, {3 * time.Second, 0}, // asking took 2 s
		{-1001 * time.Millisecond, -1001 * time.Millisecond}, {4 * time.Second, 2 * time.Second},
	} {
		require.Equal(t, c.want, apart(at, at.Add(2*time.Second), at.Add(c.theirs)), "%s", c.theirs)
	}
	require.Equal(t, "1.5s behind this machine", aheadOrBehind(-1500*time.Millisecond))
}
