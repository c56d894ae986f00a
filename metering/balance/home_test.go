package balance

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering"
)

// TestStateIsReadWhereItsParentLives: what another number of partitions has left
// of an account isn't its state.
func TestStateIsReadWhereItsParentLives(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, b backend) {
		t.Helper()
		parent := ""
		for i := 0; PartitionOf(parent, 3) != 0 || PartitionOf(parent, 2) != 1; i++ {
			parent = "parent-" + strconv.Itoa(i)
		}
		for p, flags := range []metering.Flags{metering.FlagMonthly, 0} { // of three partitions, and of two
			replid, err := New(b.rdb, 3).Replid(t.Context(), p)
			require.NoError(t, err)
			require.NoError(t, b.rdb.HSet(t.Context(), keyMeta(p), "epoch", "1", "replid", replid).Err())
			for id, of := range map[string]string{parent: "", "sub": parent} {
				require.NoError(t, b.rdb.HSet(t.Context(), keyAccount(p, id), "par", of, "f", strconv.Itoa(int(flags)), "n", "7", "fp", "2026-11").Err())
			}
		}
		for n, want := range map[int]metering.Flags{3: metering.FlagMonthly, 2: 0} {
			s := New(b.rdb, n)
			for _, id := range []string{parent, "sub", "sub"} {
				st, err := s.State(t.Context(), id)
				require.NoError(t, err)
				require.True(t, st.Held)
				require.Equal(t, want, st.Own, "%s of %d partitions", id, n)
			}
		}
		require.NoError(t, b.rdb.Del(t.Context(), keyAccount(1, parent), keyAccount(1, "sub")).Err())
		st, err := New(b.rdb, 2).State(t.Context(), "sub")
		require.NoError(t, err)
		require.False(t, st.Held, "not held where it belongs: whoever charges is told so, and pushes it")
	})
}
