package metering

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestUnits(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]Quantity{0: 0, 1: scale, 61: 61 * scale, 999_999_999_999: QuantityMax - scale + 1} {
		q, ok := Units(n).Get()
		assert.True(t, ok)
		assert.Equal(t, want, q)
	}
	for _, n := range []int64{-1, 1_000_000_000_000, 1 << 62} {
		q, ok := Units(n).Get()
		assert.True(t, ok)
		assert.Greater(t, q, QuantityMax, "refused by whoever takes the record: %d", n)
	}
	var none Optional[Quantity]
	assert.False(t, none.Is())
	assert.Equal(t, Quantity(7), none.Or(7))
	assert.Equal(t, Quantity(0), Units(0).Or(7))
}

func TestParseQuantity(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]Quantity{"2.5": 2_500_000, "0": 0, "0.000001": 1, "999999999999.999999": QuantityMax} {
		q, err := ParseQuantity(s)
		require.NoError(t, err)
		assert.Equal(t, want, q)
	}
	for _, s := range []string{"", "-1", "-0", "1e3", "0.0000001", "1000000000000", "two", "1,5"} {
		_, err := ParseQuantity(s)
		assert.ErrorIs(t, err, ErrQuantity, s)
	}
}

// Two segments, one and a half minutes, and what a channel has rated itself.
func ExampleUnits() {
	segments := Record{Units: Units(2), Unit: "segment"}
	minutes, err := ParseQuantity("1.5")
	if err != nil {
		fmt.Println(err)
		return
	}
	amount, err := ParseMicros("0.0412")
	if err != nil {
		fmt.Println(err)
		return
	}
	call := Record{Units: Some(minutes), Unit: "minute", Amount: Some(amount), Currency: "EUR"}
	fmt.Println(segments.Units.Or(0), segments.Unit, call.Units.Or(0), call.Unit, call.Amount.Or(0).Format(call.Currency))
	// Output: 2 segment 1.5 minute 0.0412
}
