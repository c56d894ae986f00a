package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/ledger"
)

// usageCmd prints aggregates.
type usageCmd struct {
	Parent  string `help:"The parent." placeholder:"P"`
	Account string `help:"Only this account." placeholder:"A"`
	From    string `help:"From this instant (RFC 3339) or date of the parent's zone, by occurred_at." placeholder:"T"`
	To      string `help:"Up to, not including." placeholder:"T"`
	By      string `help:"account,day,month,hour,channel,country,network,category,direction,status,tag:KEY"`
	As      string `help:"What that account may see." placeholder:"ID"`
}

// resellerBy is all that a reseller sub-account may group by.
var resellerBy = []string{"day", "hour", "channel", "direction", "status"} //nolint:gochecknoglobals // constant

// Run implements the command.
func (c *usageCmd) Run(a *app) error {
	e, done, err := a.connect()
	if err != nil {
		return err
	}
	defer done()
	q, aud, err := c.query(e)
	if err != nil {
		return err
	}
	return e.tellUsage(a, q, aud)
}

// tellUsage prints what q asks for, as an audience may see it.
func (e *engines) tellUsage(a *app, q *ledger.UsageQuery, aud metering.Audience) error {
	names := figures
	if aud == metering.AudienceReseller {
		names = figures[:1]
	}
	header := make([]any, 0, len(q.By)+len(names))
	for _, d := range q.By {
		header = append(header, strings.ToUpper(string(d)))
	}
	var cols []int
	for i, f := range names {
		header = append(header, strings.ToUpper(strings.ReplaceAll(f, "_", " ")))
		cols = append(cols, len(q.By)+1+i)
	}
	t := a.table(header...)
	right(t, cols...)
	lines := 0
	show := func(keys []string, values []any) error {
		if a.JSON {
			return a.usageJSON(q.By, keys, names, values)
		}
		lines++
		row := make([]any, 0, len(header))
		for _, k := range keys {
			row = append(row, k)
		}
		t.AppendRow(append(row, values...))
		return nil
	}
	var err error
	var total ledger.UsageLine
	rows := aud == metering.AudienceReseller
	q.OnRows = func() { rows = true }
	if aud == metering.AudienceReseller {
		err = e.activity(a, q, func(r activityRow) error { return show(r.Keys, []any{r.Records}) })
	} else {
		err = e.ledger.Usage(a.ctx, *q, func(u *ledger.UsageLine) error {
			total.Add(u)
			return show(u.Keys, figuresOf(u))
		})
	}
	if err == nil && !a.JSON {
		if lines > 1 && len(names) > 1 && len(q.By) > 0 {
			total.Keys = append([]string{"Total"}, make([]string, len(q.By)-1)...)
			err = show(total.Keys, figuresOf(&total))
		}
		a.render(t)
		if len(names) > 1 {
			_, _ = fmt.Fprintln(a.out, "by when messages occurred; what a month's bill comes to: meterd period list")
		}
	}
	if from := e.snapshots.Current().RowsFrom; err == nil && rows && q.From.Before(from) {
		_, _ = fmt.Fprintf(a.err, "meterd: warning: messages of before %s are past their retention and not counted here%s\n", from.Format(time.RFC3339), otherwise(aud))
	}
	return err
}

// otherwise says how they are counted, to who may group so.
func otherwise(aud metering.Audience) string {
	if aud == metering.AudienceReseller {
		return ""
	}
	return "; they are by account, day, month, hour, channel, country, network, category or direction alone"
}

// activityRow is a line of usage for a reseller sub-account.
type activityRow struct {
	Keys    []string
	Records uint64
}

// activity is usage for a reseller sub-account, from a query that selects no
// amounts: statuses as it may see them, groups that became the same joined.
func (e *engines) activity(a *app, q *ledger.UsageQuery, show func(activityRow) error) error {
	joined := map[string]activityRow{}
	messages := ledger.ActivityQuery{Parent: q.Parent, Accounts: q.Accounts, From: q.From, To: q.To, Zone: q.Zone}
	err := e.ledger.ActivityBy(a.ctx, messages, q.By, func(g *ledger.ActivityGroup) error {
		for i, d := range q.By {
			if d == "status" {
				g.Keys[i] = toldStatus(g.Keys[i])
			}
		}
		key := strings.Join(g.Keys, "\x00")
		joined[key] = activityRow{Keys: g.Keys, Records: joined[key].Records + g.Messages}
		return nil
	})
	if err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(joined)) {
		if err := show(joined[key]); err != nil {
			return err
		}
	}
	return nil
}

// figures of a line, in their order; decimals as strings.
var figures = []string{"records", "units", "billed_units", "amount", "refunds", "net", "corrections", "currency"} //nolint:gochecknoglobals // constant

func figuresOf(u *ledger.UsageLine) []any {
	return []any{
		u.Records, u.Units.String(), u.BilledUnits.String(), u.Amount.Format(u.Currency), u.Refunds.Format(u.Currency),
		u.Net().Format(u.Currency), u.Adjustments.Format(u.Currency), u.Currency,
	}
}

// usageJSON writes one object with the keys in their order.
func (a *app) usageJSON(by []ledger.Dimension, keys, figures []string, values []any) error {
	b := []byte{'{'}
	add := func(name string, v any) error {
		doc, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("write the output: %w", err)
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(strconv.AppendQuote(b, name), ':')
		b = append(b, doc...)
		return nil
	}
	for i, d := range by {
		if err := add(string(d), keys[i]); err != nil {
			return err
		}
	}
	for i, f := range figures {
		if slices.Contains(by, ledger.Dimension(f)) {
			continue // the currency, by which it was grouped
		}
		if err := add(f, values[i]); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(a.out, "%s}\n", b)
	return err
}

// query makes the query that a reader may ask.
func (c *usageCmd) query(e *engines) (*ledger.UsageQuery, metering.Audience, error) {
	aud, acct, err := c.subject(e)
	if err != nil {
		return nil, "", err
	}
	parent := e.snapshots.Current().Accounts[acct.Parent()]
	q := &ledger.UsageQuery{Parent: parent.ID, Zone: parent.Calendar.Location(e.clock.Now())}
	if c.Account != "" || !acct.IsParent() {
		q.Accounts = []string{acct.ID}
	}
	by := c.By
	if aud == metering.AudienceReseller {
		if by == "" {
			by = "day,channel,direction,status"
		}
		for d := range strings.SplitSeq(by, ",") {
			if !slices.Contains(resellerBy, strings.TrimSpace(d)) {
				return nil, "", wrongInput("--by: this account may group by %s", strings.Join(resellerBy, ", "))
			}
		}
	}
	if by != "" {
		if q.By, err = ledger.ParseDimensions(by); err != nil {
			return nil, "", &inputError{err: err}
		}
	}
	if aud == metering.AudienceEnterprise && slices.ContainsFunc(q.By, func(d ledger.Dimension) bool { return d == ledger.DimParent || d == ledger.DimPurse }) {
		return nil, "", wrongInput("--by: parent and purse are the parent's to see")
	}
	if q.From, err = instant("--from", c.From, q.Zone); err != nil {
		return nil, "", err
	}
	if q.To, err = instant("--to", c.To, q.Zone); err != nil {
		return nil, "", err
	}
	if !q.From.IsZero() && !q.To.IsZero() && !q.From.Before(q.To) {
		return nil, "", wrongInput("--to: must be after --from")
	}
	return q, aud, nil
}

// subject is the account that is asked about, as the reader may see it.
func (c *usageCmd) subject(e *engines) (metering.Audience, *metering.Account, error) {
	target := c.Account
	if target == "" {
		target = c.Parent
	}
	if c.As == "" && target == "" {
		return "", nil, wrongInput("--parent: say whose usage")
	}
	if c.As == "" {
		if err := e.parent(c.Parent); err != nil {
			return "", nil, err
		}
	}
	if c.As != "" {
		reader := e.snapshots.Current().Accounts[c.As]
		if reader == nil {
			return "", nil, metering.ErrUnknownAccount
		}
		if !reader.IsParent() {
			// Its parent may be named; anything else but itself is unknown.
			if c.Parent != "" && c.Parent != reader.Parent() {
				return "", nil, metering.ErrUnknownAccount
			}
			target = c.Account
		}
	}
	aud, acct, err := e.view(c.As, target)
	if err != nil {
		return "", nil, err
	}
	if c.Parent != "" && acct.Parent() != c.Parent {
		return "", nil, metering.ErrUnknownAccount
	}
	return aud, acct, nil
}

// instant reads RFC 3339, or a date of the zone.
func instant(flag, s string, zone *time.Location) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	day, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return time.Time{}, wrongInput("%s: want 2026-11-05 or 2026-11-05T10:00:00+01:00, not %q", flag, s)
	}
	return metering.StartOfDay(day.Year(), day.Month(), day.Day(), zone), nil
}
