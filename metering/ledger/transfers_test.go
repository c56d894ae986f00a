package ledger

import (
	"cmp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering"
)

func transfer(ref string, kind metering.TransferKind, account string, amount metering.Micros, seq int64) TransferRow {
	return TransferRow{
		Transfer: metering.Transfer{
			Ref: ref, Kind: kind, ParentID: "acme", AccountID: account, Amount: amount, Currency: "EUR",
			Reason: "it's \\ \n ünï", Actor: "operator", At: noon,
		},
		Booked: "2026-11", At: noon.Add(time.Duration(seq) * time.Second), Epoch: 1, Seq: seq,
	}
}

func TestTransfersAndSums(t *testing.T) {
	t.Parallel()
	l := open(t)
	list := []TransferRow{
		transfer("t1", metering.TransferTopup, "acme", 100_000_000, 1),
		transfer(`odd 'ref' \1`, metering.TransferAllocate, "acme-marketing", 30_000_000, 2),
		transfer("t3", metering.TransferReclaim, "acme-marketing", 5_000_000, 3),
		transfer("t4", metering.TransferAdjust, "acme", -1, 4),
	}
	list[3].Transfer.Invoiced = true
	list[1].After = map[string]metering.Micros{"acme": 70_000_000, "acme-marketing": 0}
	require.NoError(t, l.InsertTransfers(t.Context(), list))
	require.NoError(t, l.InsertTransfers(t.Context(), list)) // the outbox repeats
	later := list[3]
	later.Epoch = 2 // and so does another epoch
	require.NoError(t, l.InsertTransfers(t.Context(), []TransferRow{later}))
	require.NoError(t, l.InsertTransfers(t.Context(), nil))

	var lines []TransferLine
	require.NoError(t, l.Transfers(t.Context(), "acme-marketing", func(x *TransferLine) error {
		lines = append(lines, *x)
		return nil
	}))
	require.Len(t, lines, 2)
	require.Equal(t, TransferLine{
		Ref: `odd 'ref' \1`, Kind: "allocate", ParentID: "acme", AccountID: "acme-marketing", Purse: "budget", Amount: 30_000_000,
		Currency: "EUR", Reason: "it's \\ \n ünï", Actor: "operator", Booked: "2026-11", At: noon.Add(2 * time.Second),
		Other: "acme", After: new(metering.Micros),
	}, lines[0])
	require.Nil(t, lines[1].After, "not known, which isn't nothing")
	require.Equal(t, "acme", lines[1].Other)
	require.EqualValues(t, -5_000_000, lines[1].Amount)
	lines = nil
	require.NoError(t, l.ParentTransfers(t.Context(), TransferQuery{Parent: "acme"}, func(x *TransferLine) error {
		lines = append(lines, *x)
		return nil
	}))
	require.Len(t, lines, 6)
	for _, x := range lines {
		switch {
		case x.Ref == list[1].Transfer.Ref && x.AccountID == "acme":
			require.Equal(t, metering.Micros(70_000_000), *x.After)
			require.Equal(t, "acme-marketing", x.Other)
		case x.Ref == "t4":
			require.True(t, x.Invoiced)
		case x.Ref == "t1":
			require.False(t, x.Invoiced)
			require.Empty(t, x.Other, "the world outside")
		}
	}

	for i := range list {
		used, err := l.TransferByRef(t.Context(), list[i].Transfer.Ref)
		require.NoError(t, err)
		require.Equal(t, &UsedRef{ParentID: "acme", Hash: list[i].Transfer.ContentHash(), At: list[i].At}, used, list[i].Transfer.Ref)
	}
	used, err := l.TransferByRef(t.Context(), "never")
	require.NoError(t, err)
	require.Nil(t, used)

	refs := map[string]Ref{}
	require.NoError(t, l.Refs(t.Context(), []string{"acme"}, time.UnixMilli(0), func(r *Ref) error {
		refs[r.Ref] = *r
		return nil
	}))
	require.Len(t, refs, 4)
	require.Equal(t, Ref{Ref: "t1", Hash: list[0].Transfer.ContentHash(), Booked: "2026-11", At: noon.Add(time.Second), Amount: 100_000_000, Epoch: 1, Seq: 1}, refs["t1"])

	wallet := sent("w", noon)
	wallet.Record.AccountID, wallet.Purse, wallet.Seq = "acme-support", metering.PurseWallet, 6
	again := sent("old", noon)
	again.Epoch = 0
	rows := []Row{sent("m1", noon), refund("m1", 40_000, noon), wallet, again}
	rows[0].Seq, rows[1].Seq = 5, 7
	apply(t, l, "acme", "acme-marketing", "acme-support")
	put(t, l, noon, rows...)
	check := func(epoch, seq int64, used, parentUsed, budget, walletLeft metering.Micros) {
		s := sumsOfOne(t, l, "acme", &Base{}, epoch, seq)
		require.Equal(t, used, s.Used["acme-marketing"]["2026-11"])
		require.Equal(t, parentUsed, s.Used["acme"]["2026-11"])
		require.Equal(t, budget, s.Balance["acme-marketing"])
		require.Equal(t, walletLeft, s.Balance["acme"])
	}
	check(2, 100, 60_000, 110_000, 24_940_000, 74_949_999)
	check(1, 5, 100_000, 100_000, 24_900_000, 75_000_000) // the line of epoch 2 is the one that stands
	seq, err := l.MaxSeq(t.Context(), 1)
	require.NoError(t, err)
	require.EqualValues(t, 7, seq)
	last, err := l.MaxSeq(t.Context(), 9)
	require.NoError(t, err)
	require.Zero(t, last)
}

func TestStatesEpochsAndFindings(t *testing.T) {
	t.Parallel()
	l := open(t)
	list := []StateRow{
		{AccountID: "acme", ParentID: "acme", Epoch: 1, Flags: 1, Cause: "wallet_exhausted", Period: "2026-11", At: noon},
		{AccountID: "acme", ParentID: "acme", Epoch: 3, Flags: 4, Cause: "manual", Actor: "operator", Note: "it's \\ ünï\n", At: noon.Add(time.Hour)},
	}
	require.NoError(t, l.InsertStates(t.Context(), list))
	require.NoError(t, l.InsertStates(t.Context(), list[:1]))
	flags, err := l.LatestFlags(t.Context(), []string{"acme"})
	require.NoError(t, err)
	require.EqualValues(t, 4, flags["acme"].Flags)
	require.EqualValues(t, 3, flags["acme"].Epoch)
	n := 0
	require.NoError(t, l.States(t.Context(), []string{"acme"}, noon, noon.Add(time.Minute), func(s *StateRow) error {
		n++
		require.Equal(t, "wallet_exhausted", s.Cause)
		return nil
	}))
	require.Equal(t, 1, n)

	for _, d := range []Delivery{
		{AccountID: "acme", Event: "suspend", Epoch: 3, Destination: "h"},
		{AccountID: "acme", Event: "alert", Epoch: 80, Destination: "h"},
		{AccountID: "acme", Event: "resume", Epoch: 4, Destination: "h", Outcome: "failed"},
		{AccountID: "knows", Event: "suspend", Epoch: 5, Destination: "h"},
		{AccountID: "knows", Event: "resume", Epoch: 6, Destination: "h"},
		{AccountID: "half", Event: "suspend", Epoch: 5, Destination: "h"},
		{AccountID: "half", Event: "resume", Epoch: 6, Destination: "h"},
		{AccountID: "half", Event: "suspend", Epoch: 5, Destination: "another"},
		{AccountID: "stranger", Event: "suspend", Epoch: 5, Destination: "h"},
	} {
		d.Outcome, d.At = cmp.Or(d.Outcome, "delivered"), noon
		require.NoError(t, l.InsertDelivery(t.Context(), &d))
	}
	apply(t, l, "acme", "half", "knows")
	told, err := l.ToldSuspended(t.Context(), []string{"acme", "other"})
	require.NoError(t, err)
	require.Equal(t, map[string]bool{"acme": true, "half": true}, told)

	epoch, err := l.MaxEpoch(t.Context())
	require.NoError(t, err)
	require.Zero(t, epoch)
	require.NoError(t, l.InsertEpoch(t.Context(), 0, 1, 4, "emptied", noon))
	epoch, err = l.MaxEpoch(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 4, epoch)
	require.NoError(t, l.InsertFindings(t.Context(), []Finding{{At: noon, Kind: "drift", AccountID: "acme", Field: "used", Expected: "1", Actual: "2", Healed: true}}))

	closings, err := l.Closings(t.Context(), "")
	require.NoError(t, err)
	require.Empty(t, closings)
	bases, err := l.Bases(t.Context(), []string{"acme"})
	require.NoError(t, err)
	require.Equal(t, map[string]*Base{"acme": {Balances: map[string]metering.Micros{}}}, bases)
}

// TestTransfersThroughBeyond64Bits: a closing begins with what came and went.
func TestTransfersThroughBeyond64Bits(t *testing.T) {
	t.Parallel()
	l := open(t)
	var list []TransferRow
	var want metering.Sum
	for i := range 10 {
		list = append(list, TransferRow{
			Transfer: metering.Transfer{Ref: string(rune('a' + i)), Kind: metering.TransferTopup, ParentID: "acme", AccountID: "acme", Amount: metering.MicrosMax, Currency: "EUR"},
			Booked:   "2026-10", At: noon, Epoch: 1, Seq: int64(i + 1),
		})
		want = want.Plus(metering.MicrosMax.Sum())
	}
	require.NoError(t, l.InsertTransfers(t.Context(), list))
	got, err := l.TransfersThrough(t.Context(), "acme", "", "2026-10")
	require.NoError(t, err)
	require.Equal(t, want, got["acme"])
	const held = -2 * metering.MicrosMax
	require.NoError(t, l.FinishClosing(t.Context(), &Closing{ParentID: "acme", Period: "2026-09", Balances: map[string]metering.Micros{"acme": held}}))
	opening, err := l.OpeningBalances(t.Context(), "acme", "2026-11")
	require.NoError(t, err)
	require.EqualValues(t, 8*metering.MicrosMax, opening["acme"])
}
