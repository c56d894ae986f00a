package metering

import (
	"math/big"
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// drawSum is a sum of up to 126 bits, often near an edge of a word, and the same
// as a big.Int.
func drawSum(r *rapid.T, name string) (Sum, *big.Int) {
	n := new(big.Int).Lsh(big.NewInt(rapid.Int64().Draw(r, name+" high")), uint(rapid.IntRange(0, 62).Draw(r, name+" shift")))
	n.Add(n, big.NewInt(rapid.Int64Range(-2, 2).Draw(r, name+" low")))
	s, err := SumOf(decimal.NewFromBigInt(n, -scaleDigits))
	require.NoError(r, err)
	return s, n
}

// TestSumsAreExact holds sums against big.Int.
func TestSumsAreExact(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		a, x := drawSum(r, "a")
		b, y := drawSum(r, "b")
		is := func(want *big.Int, got Sum) {
			exact := decimal.NewFromBigInt(want, -scaleDigits)
			require.True(r, exact.Equal(got.Decimal()), "%s, not %s", exact, got)
			require.Equal(r, exact.String(), got.String())
			again, err := SumOf(got.Decimal())
			require.NoError(r, err)
			require.Equal(r, got, again, "equal sums are ==")
		}
		is(x, a)
		is(new(big.Int).Add(x, y), a.Plus(b))
		is(new(big.Int).Sub(x, y), a.Minus(b))
		is(new(big.Int).Neg(x), a.Neg())
		m, n := rapid.Int64().Draw(r, "amount"), rapid.Uint64().Draw(r, "times")
		is(new(big.Int).Mul(big.NewInt(m), new(big.Int).SetUint64(n)), Micros(m).Sum().Times(n))
		require.Equal(r, x.Cmp(y), a.Cmp(b))
		require.Equal(r, x.Sign(), a.Sign())
	})
}

// TestAnAmountIsASumOfOne and prints alike.
func TestAnAmountIsASumOfOne(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		m := Micros(rapid.Int64().Draw(r, "amount"))
		require.Equal(r, m.String(), m.Sum().String())
		currency := rapid.SampledFrom([]string{"EUR", "JPY", "KWD", "CLF"}).Draw(r, "currency")
		require.Equal(r, m.Format(currency), m.Sum().Format(currency))
		require.True(r, m.Decimal().Equal(m.Sum().Decimal()))
	})
}

func TestSumsBeyond64BitsPrint(t *testing.T) {
	large := Micros(9_000_000_000_000_000_000).Sum()
	sum := large.Plus(large)
	require.Equal(t, "18000000000000", sum.String())
	require.Equal(t, "18000000000000.00", sum.Format("EUR"))
	require.Equal(t, "18000000000000", sum.Format("JPY"))
	require.Equal(t, "-18000000000000.500", sum.Neg().Minus(Micros(500_000).Sum()).Format("KWD"))
	require.Equal(t, "18000000000000.000001", sum.Plus(Micros(1).Sum()).Format("EUR"))
	_, err := SumOf(decimal.New(1, 33))
	require.ErrorIs(t, err, ErrOverflow)
}
