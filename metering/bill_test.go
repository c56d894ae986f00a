package metering

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBillSumsByKindAndMonth(t *testing.T) {
	t.Parallel()
	b := NewBill("2026-11")
	for _, l := range []BillLine{
		{AccountID: "a", Kind: KindAdjustment, ID: "x", Period: "2026-11", Amount: -5},
		{AccountID: "a", Kind: KindRefund, ID: "m1", Period: "2026-11", Amount: 30},
		{AccountID: "a", Kind: KindRefund, ID: "m2", Period: "2026-09", Amount: 7},
		{AccountID: "a", Kind: KindUsage, ID: "m1", Period: "2026-11", Amount: 100, Fee: 10},
		{AccountID: "a", Kind: KindUsage, ID: "m2", Period: "2026-10", Amount: 1000},
		{AccountID: "b", Kind: KindUsage, ID: "m1", Period: "2026-11", Amount: 1},
	} {
		require.NoError(t, b.Add(&l))
	}
	require.Equal(t, []int64{6, 3}, []int64{b.Lines, b.Records})
	require.Equal(t, []Sum{Micros(101).Sum(), Micros(30).Sum(), Micros(1000 - 7 - 5).Sum()}, []Sum{b.Amount, b.Refunds, b.Adjustments})
}

func TestBillRefusesLinesOutOfOrder(t *testing.T) {
	t.Parallel()
	line := func(account string, kind Kind, id string) *BillLine {
		return &BillLine{AccountID: account, Kind: kind, ID: id}
	}
	for _, c := range []struct {
		next *BillLine
		want error
	}{
		{line("b", KindUsage, "m"), ErrBillTwice},
		{line("b", KindUsage, "l"), ErrBillOrder},
		{line("b", KindRefund, "z"), ErrBillOrder},
		{line("a", KindUsage, "z"), ErrBillOrder},
	} {
		b := NewBill("2026-11")
		require.NoError(t, b.Add(line("b", KindUsage, "m")))
		digest := b.Digest()
		require.ErrorIs(t, b.Add(c.next), c.want)
		require.Equal(t, digest, b.Digest(), "nothing was added")
	}
}

// TestBillsSumBeyond64Bits: a month's net fits, what was charged and given back need not.
func TestBillsSumBeyond64Bits(t *testing.T) {
	t.Parallel()
	b := NewBill("2026-11")
	require.NoError(t, b.Add(&BillLine{AccountID: "a", Kind: KindUsage, ID: "1", Period: "2026-11", Amount: math.MaxInt64}))
	require.NoError(t, b.Add(&BillLine{AccountID: "a", Kind: KindUsage, ID: "2", Period: "2026-11", Amount: math.MaxInt64}))
	require.Equal(t, "18446744073709.551614", b.Amount.String())
}

// TestBillDigestStandsFor says what a digest is made of: it never changes.
func TestBillDigestStandsFor(t *testing.T) {
	t.Parallel()
	b := NewBill("2026-11")
	require.NoError(t, b.Add(&BillLine{
		AccountID: "acme", Kind: KindUsage, ID: "m\t1'\\\n", Period: "2026-11", Purse: PurseWallet, Currency: "EUR",
		Amount: 41_200, Fee: 3, Plan: "standard", Version: 2, Rule: 7,
	}))
	require.Equal(t, "acme\tusage\tm\\t1\\'\\\\\\n\t2026-11\twallet\tEUR\t41200\t3\tstandard\t2\t7\n", string(b.buf))
	require.Len(t, b.Digest(), 64)
	empty := NewBill("2026-11")
	require.Equal(t, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", empty.Digest())
}
