package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/meterd/meterd/internal/clock"
	"github.com/meterd/meterd/internal/phone"
	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/ledger"
)

// RerateDeps are what a re-rating works with.
type RerateDeps struct {
	Ledger   *ledger.Ledger
	Store    *balance.Store
	Snapshot *metering.Snapshot
	Queue    wire.Enqueuer
	Clock    clock.Clock
}

// RerateRequest asks for a parent's messages of a month, by occurred_at, to be
// rated by another plan.
type RerateRequest struct {
	Parent, Account string // Account "": the parent and all its sub-accounts
	Period, Plan    string
	Apply           bool // else only say what would change
	Ref             string
	Reason, Actor   string
	// Run names this try, in the queue and in the ledger, as "rerate-" and what no other
	// has. Default: a UUID.
	Run string
	// Progress, if not nil, is told how many messages were looked at.
	Progress func(messages int64)
	// Waiting, if not nil, is told until when corrections of older messages wait,
	// where Redis was lost a short time ago.
	Waiting func(until time.Time)
}

// Rerated is what a re-rating comes to, for each account and in all.
type Rerated struct {
	Currency string
	Applied  bool
	Total    RerateSum
	Accounts []RerateSum // those with a message, by id
}

// RerateSum is of one account, or of all.
type RerateSum struct {
	Account    string
	Messages   int64 // that a plan had rated
	Changed    int64
	NotRated   int64        // that the plan has no price for; they keep theirs
	Before     metering.Sum // net of refunds and earlier corrections
	Difference metering.Sum
}

// Errors of a re-rating.
var (
	ErrRerateRef    = errors.New("reference: give one of 1 to 64 printable ASCII characters to book a re-rating; the same again books only what is left")
	ErrRerateReason = errors.New("reason: say why, in at most 1024 bytes")
	ErrRerateUsed   = errors.New("the reference was used for another re-rating: give another")
	ErrRerateBusy   = errors.New("not all corrections were booked: some are in quarantine, see `meterd quarantine list`")
	ErrUnknownPlan  = errors.New("unknown plan, or one in another currency: apply it in an accounts file first")
)

// Bounds of a re-rating.
const (
	correctionsTask = 500       // corrections of one task
	correctionsOpen = 100 * 500 // in the queue at most
	rerateRefMax    = 64        // with a message's id it is an adjustment's
	rerateReasonMax = 1024      // bytes
	reratePoll      = 20 * time.Millisecond
)

// Rerate rates stored messages anew and, where asked to, books the differences
// as adjustments, never as edits (docs/domain.md, Price plans). Differences are
// against what a message is charged when they are booked, so that re-ratings and
// refunds may come at once, and a repeated or cut-off re-rating books each once.
func Rerate(ctx context.Context, d RerateDeps, q RerateRequest) (*Rerated, error) {
	parent := d.Snapshot.Accounts[q.Parent]
	if parent == nil || !parent.IsParent() {
		return nil, metering.ErrUnknownAccount
	}
	if a := d.Snapshot.Accounts[q.Account]; q.Account != "" && (a == nil || a.Parent() != q.Parent) {
		return nil, metering.ErrUnknownAccount
	}
	month, err := parent.Calendar.Named(q.Period)
	if err != nil {
		return nil, err
	}
	if d.Snapshot.Gone(month.Name) {
		return nil, fmt.Errorf("%w: %s's rows are past their retention", ErrRefused, month.Name)
	}
	plan := d.Snapshot.Plans[q.Plan]
	if plan == nil || plan.Currency != parent.Currency {
		return nil, ErrUnknownPlan
	}
	q.Run = cmp.Or(q.Run, "rerate-"+uuid.NewString())
	r := &rerating{deps: d, request: q, plan: plan, result: &Rerated{Currency: parent.Currency, Applied: q.Apply}}
	rated := ledger.RatedQuery{Parent: q.Parent, Account: q.Account, Period: month.Name}
	if q.Apply {
		if err := r.mayRate(ctx, rated); err != nil {
			return nil, err
		}
		if err := r.begin(ctx, month.Name); err != nil {
			return nil, err
		}
	}
	return r.result, r.book(ctx, rated)
}

// rerating is one in the making.
type rerating struct {
	deps    RerateDeps
	request RerateRequest
	plan    *metering.Plan
	result  *Rerated
	began   ledger.RerateRun // of one that books
	lines   [][]byte
	tasks   int
	sent    int64
}

// mayRate refuses before anything is booked what take would refuse midway.
func (r *rerating) mayRate(ctx context.Context, q ledger.RatedQuery) error {
	if !r.plan.HasPrefix() {
		return nil
	}
	q.NoNumbers = true
	return r.deps.Ledger.RatedMessages(ctx, q, func(m *ledger.RatedMessage) error {
		_, _, err := r.rate(m)
		return err
	})
}

func (r *rerating) rate(m *ledger.RatedMessage) (metering.Correction, *metering.Refusal, error) {
	m.Record.International = phone.International(m.Record.FarEnd())
	c, ref, err := metering.Rerate(r.deps.Snapshot, r.plan, &m.Record, m.Was)
	if err != nil {
		err = fmt.Errorf("%w: plan %s, messages of %s: %w", ErrRefused, r.plan.ID, m.Record.AccountID, err)
	}
	return c, ref, err
}

// begin notes the re-rating, once for its reference.
func (r *rerating) begin(ctx context.Context, period string) error {
	q := &r.request
	if !printableRef(q.Ref) {
		return ErrRerateRef
	}
	if q.Reason == "" || len(q.Reason) > rerateReasonMax {
		return ErrRerateReason
	}
	x := &ledger.Rerate{
		Ref: q.Ref, ParentID: q.Parent, AccountID: q.Account, Period: period, Plan: q.Plan, Reason: q.Reason, Actor: q.Actor, At: r.deps.Clock.Now().UTC(),
	}
	used, err := r.deps.Ledger.RerateByRef(ctx, q.Ref)
	if err != nil {
		return err
	}
	r.began = ledger.RerateRun{ParentID: q.Parent, Run: q.Run, Ref: q.Ref, BegunAt: x.At}
	if used != nil {
		if used.ParentID != x.ParentID || used.AccountID != x.AccountID || used.Period != x.Period || used.Plan != x.Plan {
			return fmt.Errorf("%w: %w", ErrRefused, ErrRerateUsed)
		}
	} else if err := r.deps.Ledger.InsertRerate(ctx, x); err != nil {
		return err
	}
	return r.deps.Ledger.InsertRerateRun(ctx, &r.began)
}

// book rates the messages, sends what is to be booked, and notes it once all of that
// has its outcome.
func (r *rerating) book(ctx context.Context, rated ledger.RatedQuery) error {
	err := r.deps.Ledger.RatedMessages(ctx, rated, func(m *ledger.RatedMessage) error { return r.take(ctx, m) })
	if err == nil {
		err = r.flush(ctx)
	}
	if err != nil && !errors.Is(err, ErrRerateBusy) || !r.request.Apply {
		return err
	}
	if err := r.tellLanding(ctx); err != nil {
		return err
	}
	busy := r.wait(ctx, 0)
	if busy != nil && !errors.Is(busy, ErrRerateBusy) {
		return busy
	}
	r.began.Ended = true
	return errors.Join(busy, r.deps.Ledger.InsertRerateRun(ctx, &r.began))
}

// correctionID is the identity of a correction.
func correctionID(ref, message string) string { return ref + " " + message }

// RerateRef is the reference of the re-rating that booked a correction.
func RerateRef(id, message string) string {
	ref := strings.TrimSuffix(id, message)
	return ref[:max(0, len(ref)-1)] // older corrections have a colon there
}

// printableRef: a space would make two references and messages one adjustment's id.
func printableRef(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return s != "" && len(s) <= rerateRefMax
}

// take rates one message.
func (r *rerating) take(ctx context.Context, m *ledger.RatedMessage) error {
	res := r.result
	if n := len(res.Accounts); n == 0 || res.Accounts[n-1].Account != m.Record.AccountID {
		res.Accounts = append(res.Accounts, RerateSum{Account: m.Record.AccountID})
	}
	own := &res.Accounts[len(res.Accounts)-1]
	c, ref, err := r.rate(m)
	if err != nil {
		return err
	}
	rated := ref == nil
	for _, s := range []*RerateSum{own, &res.Total} {
		s.add(m, &c, rated)
	}
	if r.request.Progress != nil {
		r.request.Progress(res.Total.Messages)
	}
	if !rated || c == (metering.Correction{Charge: c.Charge}) || !r.request.Apply {
		return nil
	}
	x := &m.Record
	line, err := json.Marshal(wire.Correction{
		ID: correctionID(r.request.Ref, x.ID), AccountID: x.AccountID, MessageID: x.ID, OccurredAt: x.OccurredAt, Channel: x.Channel, Direction: x.Direction,
		Country: x.Country, Network: x.Network, Category: x.Category, Purse: string(m.Purse),
		Amount: int64(c.Amount), Fee: int64(c.Fee), Plan: c.Charge.Plan, Version: c.Charge.Version, Rule: c.Charge.Rule,
		Rated: &wire.Rated{Amount: int64(c.Charge.Amount), Fee: int64(c.Charge.Fee), Hash: m.Hash},
	})
	if err != nil {
		return fmt.Errorf("correction: %w", err)
	}
	if r.lines = append(r.lines, line); len(r.lines) >= correctionsTask {
		return r.flush(ctx)
	}
	return nil
}

func (s *RerateSum) add(m *ledger.RatedMessage, c *metering.Correction, rated bool) {
	s.Messages++
	s.Before = s.Before.Plus(m.Was.Amount.Sum()).Minus(m.Was.Refunded.Sum())
	if !rated {
		s.NotRated++
		return
	}
	if c.Amount != 0 || c.Fee != 0 {
		s.Changed++
	}
	s.Difference = s.Difference.Plus(c.Amount.Sum())
}

// flush enqueues what is gathered; it waits while too many are in the queue.
func (r *rerating) flush(ctx context.Context) error {
	if len(r.lines) == 0 {
		return nil
	}
	codec, err := wire.NewCodec()
	if err != nil {
		return err
	}
	payload, err := codec.EncodeHead(wire.CorrectionHeader{Ref: r.request.Ref}, r.lines)
	if err != nil {
		return err
	}
	r.tasks++
	id := fmt.Sprintf("%s.%d", r.request.Run, r.tasks)
	if err := wire.Enqueue(ctx, r.deps.Queue, wire.TypeCorrect, id, wire.QueueRefunds, payload); err != nil {
		return fmt.Errorf("book corrections (those before are safe; give the same reference again): %w", err)
	}
	r.sent += int64(len(r.lines))
	r.lines = r.lines[:0]
	return r.wait(ctx, correctionsOpen)
}

// tellLanding says until when corrections wait, if they may.
func (r *rerating) tellLanding(ctx context.Context) error {
	if r.sent == 0 || r.request.Waiting == nil {
		return nil
	}
	store := r.deps.Store
	p := store.PartitionOf(r.request.Parent)
	meta, err := store.Meta(ctx, p)
	if errors.Is(err, balance.ErrEmpty) {
		return nil // a worker makes it anew
	}
	if err != nil {
		return err
	}
	landing, err := store.Landing(ctx, p, meta)
	if landing {
		r.request.Waiting(meta.Landing)
	}
	return err
}

// wait until no more than most corrections lack their outcome. ErrRerateBusy: some
// are in quarantine, so it is no use to send more.
func (r *rerating) wait(ctx context.Context, most int64) error {
	tick := time.NewTicker(reratePoll)
	defer tick.Stop()
	for {
		if r.sent == 0 {
			return nil
		}
		c, err := r.deps.Store.RunCounts(ctx, r.request.Run)
		if err != nil {
			return err
		}
		few := r.sent-c.Sum() <= most
		if c.Quarantined > 0 && (few || most > 0) {
			return ErrRerateBusy
		}
		if few {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("stopped; what is in the queue is booked all the same, the same reference books the rest: %w", ctx.Err())
		}
	}
}
