package reports

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/reports/render"
)

// ActivityStatement is what a reseller sub-account gets: its own messages and
// how their delivery ended. Neither it nor anything in it has a field for
// money, shares of limits, plans, or other accounts. It has no grand total.
type ActivityStatement struct {
	Kind      string         `json:"kind"`   // "activity"
	Layout    uint64         `json:"layout"` // that made it
	Account   string         `json:"account"`
	Name      string         `json:"name"`
	Period    string         `json:"period"`
	Timezone  string         `json:"timezone"`
	AsOf      time.Time      `json:"as_of"`
	Closed    bool           `json:"closed"` // the month is closed: nothing below changes any more
	Suspended bool           `json:"suspended"`
	Rejected  uint64         `json:"rejected"` // messages and statuses that weren't taken as they were sent
	Activity  []ActivityLine `json:"activity"`
}

// ActivityOverview is the parent-level report without money: all sub-accounts,
// activity and outcomes. A reseller's staff may pass it on.
type ActivityOverview struct {
	Kind     string            `json:"kind"`   // "activity_overview"
	Layout   uint64            `json:"layout"` // that made it
	Account  string            `json:"account"`
	Name     string            `json:"name"`
	Period   string            `json:"period"`
	Timezone string            `json:"timezone"`
	AsOf     time.Time         `json:"as_of"`
	Closed   bool              `json:"closed"`
	Messages uint64            `json:"messages"`
	Rejected uint64            `json:"rejected"`
	Accounts []ActivitySection `json:"accounts"`
}

// ActivitySection is one account of an overview.
type ActivitySection struct {
	Account   string         `json:"account"`
	Name      string         `json:"name"`
	Suspended bool           `json:"suspended"`
	Messages  uint64         `json:"messages"`
	Rejected  uint64         `json:"rejected"`
	Activity  []ActivityLine `json:"activity"`
}

// ActivityLine counts the messages of a day, channel and direction whose
// delivery ended alike.
type ActivityLine struct {
	Day         string `json:"day"`
	Channel     string `json:"channel"`
	Direction   string `json:"direction"`
	Outcome     string `json:"outcome"`
	Messages    uint64 `json:"messages"`
	CallSeconds int64  `json:"call_seconds"` // voice: as reported
}

// BuildActivity makes a sub-account's statement without money. Nothing of its
// parent gets in but the calendar.
func (r *Reporter) BuildActivity(ctx context.Context, a *metering.Account, s *reportPeriod) (*ActivityStatement, error) {
	zone := ownZone(a, s)
	out := &ActivityStatement{
		Kind: "activity", Layout: render.Layout, Account: a.ID, Name: a.Name, Period: s.name, Timezone: zone.String(), AsOf: s.asOf, Closed: s.closed,
		Activity: []ActivityLine{},
	}
	lines, err := r.activity(ctx, a.Parent(), []string{a.ID}, zone, s)
	if err != nil {
		return nil, err
	}
	out.Activity = append(out.Activity, lines[a.ID]...)
	rejected, err := r.rejected(ctx, []string{a.ID}, s)
	if err != nil {
		return nil, err
	}
	out.Rejected = rejected[a.ID]
	states, err := r.states(ctx, a.Parent(), []*metering.Account{a}, s)
	if err != nil {
		return nil, err
	}
	out.Suspended = states[a.ID].suspended()
	return out, nil
}

// BuildOverview makes a parent's report without money.
func (r *Reporter) BuildOverview(ctx context.Context, parent *metering.Account, s *reportPeriod) (*ActivityOverview, error) {
	accounts := s.family(parent.ID)
	out := &ActivityOverview{
		Kind: "activity_overview", Layout: render.Layout, Account: parent.ID, Name: parent.Name, Period: s.name, Timezone: s.zone.String(), AsOf: s.asOf, Closed: s.closed,
		Accounts: []ActivitySection{},
	}
	ids := idsOf(accounts)
	lines, err := r.activity(ctx, parent.ID, ids, s.zone, s)
	if err != nil {
		return nil, err
	}
	states, err := r.states(ctx, parent.ID, accounts, s)
	if err != nil {
		return nil, err
	}
	rejected, err := r.rejected(ctx, ids, s)
	if err != nil {
		return nil, err
	}
	for _, a := range accounts {
		sec := ActivitySection{Account: a.ID, Name: a.Name, Suspended: states[a.ID].suspended(), Activity: append([]ActivityLine{}, lines[a.ID]...)}
		for _, l := range sec.Activity {
			sec.Messages += l.Messages
		}
		if outsidePeriod(a, s) && sec.Messages == 0 {
			continue
		}
		sec.Rejected = rejected[a.ID]
		out.Messages += sec.Messages
		out.Rejected += sec.Rejected
		out.Accounts = append(out.Accounts, sec)
	}
	return out, nil
}

// rejected counts what wasn't taken as it was sent, by account; of refunds and
// corrections nothing is told here.
func (r *Reporter) rejected(ctx context.Context, ids []string, s *reportPeriod) (map[string]uint64, error) {
	if s.closed && s.fixed.Frozen.Rejected != nil { // nil: closed before it was noted
		return s.fixed.Frozen.Rejected, nil
	}
	out := map[string]uint64{}
	return out, perPage(ids, func(page []string) error {
		counts, err := r.deps.Ledger.RejectedAt(ctx, page, s.asOf)
		maps.Copy(out, counts)
		return err
	})
}

// activity reads the lines of accounts, by account, with outcomes that anyone
// may be told.
func (r *Reporter) activity(ctx context.Context, parent string, ids []string, zone *time.Location, s *reportPeriod) (map[string][]ActivityLine, error) {
	type key struct{ account, day, channel, direction, outcome string }
	sums := map[key]*ActivityLine{}
	from, to := s.bounds()
	q := ledger.ActivityQuery{Parent: parent, Booked: s.booked(), From: from, To: to, Zone: zone}
	if s.closed {
		q.Epoch, q.Seq = s.fixed.Epoch, s.fixed.Seq
	}
	for page := range slices.Chunk(ids, accountsPage) {
		q.Accounts = page
		if err := r.deps.Ledger.Activity(ctx, q, func(a *ledger.ActivityLine) error {
			k := key{a.Account, a.Day, a.Channel, a.Direction, metering.PublicStatus(a.Status)}
			if sums[k] == nil {
				sums[k] = &ActivityLine{Day: k.day, Channel: k.channel, Direction: k.direction, Outcome: k.outcome}
			}
			sums[k].Messages += a.Messages
			sums[k].CallSeconds += a.CallSeconds
			return nil
		}); err != nil {
			return nil, err
		}
	}
	out := map[string][]ActivityLine{}
	for k, l := range sums {
		out[k.account] = append(out[k.account], *l)
	}
	for _, list := range out {
		slices.SortFunc(list, compareActivity)
	}
	return out, nil
}

func compareActivity(a, b ActivityLine) int {
	for _, c := range []int{
		strings.Compare(a.Day, b.Day), strings.Compare(a.Channel, b.Channel), -strings.Compare(a.Direction, b.Direction),
		metering.StatusOrder(a.Outcome) - metering.StatusOrder(b.Outcome),
	} {
		if c != 0 {
			return c
		}
	}
	return strings.Compare(a.Outcome, b.Outcome)
}
