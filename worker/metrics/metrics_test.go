package metrics

import (
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering"
)

// TestUnknownFieldsAreCounted: each by its name, of which who sends can't make more and
// more.
func TestUnknownFieldsAreCounted(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	m := New(reg)
	for i := range 2 * unknownNamesMax {
		m.CountUnknown([]metering.Record{{Unknown: []string{"priority", fmt.Sprint("f", i)}}, {}})
	}
	m.CountUnknown([]metering.Record{{Unknown: []string{strings.Repeat("x", unknownNameMax+1), "\xff"}}})
	got := map[string]int{}
	all, err := reg.Gather()
	require.NoError(t, err)
	for _, family := range all {
		if family.GetName() == "meterd_unknown_fields_total" {
			for _, c := range family.GetMetric() {
				got[c.GetLabel()[0].GetValue()] = int(c.GetCounter().GetValue())
			}
		}
	}
	require.Len(t, got, unknownNamesMax+1)
	require.Equal(t, 2*unknownNamesMax, got["priority"])
	require.Equal(t, 1, got["f0"])
	require.Equal(t, unknownNamesMax+1+2, got[otherFields])
}
