package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/meterd/meterd/metering/admin"
)

// impactDaysMax bounds the days that are rated anew.
const impactDaysMax = 366

// impactDays reads 30d.
func impactDays(s string) (int, error) {
	n, err := strconv.Atoi(strings.TrimSuffix(s, "d"))
	if err != nil || n < 1 || n > impactDaysMax || !strings.HasSuffix(s, "d") {
		return 0, wrongInput("--impact: want a number of days such as 30d, at most %dd", impactDaysMax)
	}
	return n, nil
}

// impactView is what a file would have meant.
type impactView struct {
	Since    string              `json:"since"`
	Accounts []accountImpactView `json:"accounts"`
	Unpriced []unpricedView      `json:"unpriced"`
	Suspend  []wouldSuspendView  `json:"would_suspend"`
}

type accountImpactView struct {
	Account    string `json:"account"`
	Messages   int64  `json:"messages"`
	Unpriced   int64  `json:"unpriced"`
	Before     string `json:"before"`
	After      string `json:"after"`
	Difference string `json:"difference"`
	Currency   string `json:"currency"`
}

type unpricedView struct {
	Account  string `json:"account"`
	Channel  string `json:"channel"`
	Country  string `json:"country"`
	Reason   string `json:"reason"`
	Messages int64  `json:"messages"`
}

type wouldSuspendView struct {
	Account string   `json:"account"`
	Reasons []string `json:"reasons"`
}

func impactOf(i *admin.Impact) *impactView {
	v := &impactView{
		Since: i.Since.Format(time.RFC3339), Accounts: []accountImpactView{}, Unpriced: []unpricedView{}, Suspend: []wouldSuspendView{},
	}
	for _, a := range i.Accounts {
		v.Accounts = append(v.Accounts, accountImpactView{
			Account: a.Account, Messages: a.Messages, Unpriced: a.Unpriced, Currency: a.Currency,
			Before: a.Before.Format(a.Currency), After: a.Before.Plus(a.Difference).Format(a.Currency), Difference: a.Difference.Format(a.Currency),
		})
	}
	for _, u := range i.Unpriced {
		v.Unpriced = append(v.Unpriced, unpricedView{u.Account, u.Channel, u.Country, string(u.Reason), u.Messages})
	}
	for _, s := range i.Suspend {
		v.Suspend = append(v.Suspend, wouldSuspendView{s.Account, s.Reasons})
	}
	return v
}

// show prints it for people.
func (v *impactView) show(a *app) {
	_, _ = fmt.Fprintf(a.out, "\nWith this file since %s:\n", v.Since)
	t := a.table("ACCOUNT", "MESSAGES", "UNPRICED", "BEFORE", "AFTER", "DIFFERENCE", "")
	right(t, 2, 3, 4, 5, 6)
	for _, x := range v.Accounts {
		t.AppendRow([]any{x.Account, x.Messages, x.Unpriced, x.Before, x.After, x.Difference, x.Currency})
	}
	a.render(t)
	for _, u := range v.Unpriced {
		_, _ = fmt.Fprintf(a.out, "without a charge: %d messages of %s on %s to %q (%s)\n", u.Messages, u.Account, u.Channel, u.Country, u.Reason)
	}
	for _, s := range v.Suspend {
		_, _ = fmt.Fprintf(a.out, "would be suspended: %s (%s)\n", s.Account, strings.Join(s.Reasons, ", "))
	}
	if len(v.Suspend) == 0 {
		_, _ = fmt.Fprintln(a.out, "nobody else would be suspended")
	}
}
