package balance

import (
	"context"
	"fmt"
	"time"

	"github.com/meterd/meterd/metering"
)

// TransferCall is one call of transfer.lua.
type TransferCall struct {
	Ref            string
	Hash           uint64 // of the content
	Amount         metering.Micros
	From, To       string // accounts, empty: outside
	RefuseNegative bool   // refuse where From would fall below zero
	WholeBalance   bool   // the whole balance of From, either sign
	ResetAlerts    bool   // To's alerts start anew
	Row            []byte // for the outbox
	Months         Months
}

// TransferDone is what became of it.
type TransferDone struct {
	Applied     bool  // false: the reference had been applied before
	Epoch       int64 // in which it was applied
	Seq         int64
	Booked      string
	At          time.Time
	Amount      metering.Micros
	FromBalance metering.Micros
	ToBalance   metering.Micros
	Base        metering.Micros // To's balance right after, if its alerts started anew
	// After is what each purse held right after, by account. Empty: applied by a
	// version that didn't keep it.
	After map[string]metering.Micros
}

// Transfer applies a move once for its reference. ErrReference: the reference
// has other content. *ShortError: From holds too little. ErrRange.
func (s *Store) Transfer(ctx context.Context, p int, meta *Meta, mv *TransferCall) (*TransferDone, error) {
	flag := func(b bool) string {
		if b {
			return "1"
		}
		return ""
	}
	args := mv.Months.append([]any{
		meta.Epoch, mv.Ref, mv.Hash, int64(mv.Amount), mv.From, mv.To, flag(mv.RefuseNegative), flag(mv.WholeBalance), flag(mv.ResetAlerts), mv.Row,
	})
	v, err := s.run(ctx, "transfer", []string{keyMeta(p), keyRef(p, mv.Ref)}, args...)
	if err != nil {
		if _, ok := err.(*OverflowError); ok { //nolint:errorlint // run returns it bare
			return nil, ErrRange
		}
		return nil, err
	}
	if str(v[0]) == "short" {
		return nil, &ShortError{Account: mv.From, balance: metering.Micros(num(v[1]))}
	}
	if len(v) != 11 {
		return nil, fmt.Errorf("script transfer: unknown answer %q", str(v[0]))
	}
	after := map[string]metering.Micros{}
	for account, held := range map[string]any{mv.From: v[9], mv.To: v[10]} {
		if str(held) != "" {
			after[account] = metering.Micros(num(held))
		}
	}
	return &TransferDone{
		Applied: str(v[0]) == "ok", Epoch: num(v[7]), Seq: num(v[1]), Booked: str(v[2]), At: time.UnixMilli(num(v[3])).UTC(),
		Amount: metering.Micros(num(v[4])), FromBalance: metering.Micros(num(v[5])), ToBalance: metering.Micros(num(v[6])),
		Base: metering.Micros(num(v[8])), After: after,
	}, nil
}

// Confirm closes the transfer's answer once its row is stored. ErrEpoch: it
// must be applied again.
func (s *Store) Confirm(ctx context.Context, p int, epoch int64, ref string) error {
	_, err := s.run(ctx, "confirm", []string{keyMeta(p), keyTask(p, "transfer:"+ref), keyRef(p, ref)}, epoch, ref, int(metering.RefKept.Seconds()))
	return err
}

// Manual is what manual.lua did.
type Manual struct {
	Own   metering.Flags
	Epoch int64
	At    time.Time
}

// ManualChange sets or lifts one flag of a manual suspension.
type ManualChange struct {
	Account     string
	Flag        metering.Flags
	Set         bool
	Actor, Note string
	Months      Months
}

// SetManual makes the change.
func (s *Store) SetManual(ctx context.Context, p int, meta *Meta, c *ManualChange) (*Manual, error) {
	on := "0"
	if c.Set {
		on = "1"
	}
	args := c.Months.append([]any{meta.Epoch, c.Account, int(c.Flag), on, c.Actor, c.Note})
	v, err := s.run(ctx, "manual", []string{keyMeta(p)}, args...)
	if err != nil {
		return nil, fmt.Errorf("manual suspension: %w", err)
	}
	return &Manual{
		Own:   metering.Flags(num(v[1])),
		Epoch: AccountEpoch(meta.Epoch, num(v[2]), num(v[3])),
		At:    time.UnixMilli(num(v[4])).UTC(),
	}, nil
}
