package worker

import (
	"context"
	"fmt"
	"time"

	"github.com/meterd/meterd/internal/notify"
	"github.com/meterd/meterd/jobs"
	"github.com/meterd/meterd/metering"
)

// alertReaders are the addresses that may know of an alert: the parent's, and an
// enterprise sub-account's about its own budget and limit; never a reseller's
// sub-account's (DOMAIN.md, Funding).
func (h *hooks) alertReaders(a *metering.Account, al *jobs.Alert) []string {
	var out []string
	if p := h.snapshots.Current().Accounts[a.Parent()]; p != nil {
		out = append(out, p.AlertMail...)
	}
	if !a.IsParent() && a.Audience() == metering.AudienceEnterprise && al.Limit != limitNoPrice {
		out = append(out, a.AlertMail...)
	}
	return out
}

// mailKey tells an address from other receivers.
func mailKey(to string) string { return "mailto:" + to }

// letter to one address, once for its task's id. It names the share, no amount.
func (h *hooks) letter(a *metering.Account, id, to string, al *jobs.Alert) *notice {
	parent := h.snapshots.Current().Accounts[a.Parent()]
	l := alertLetter(a, al, parent != nil && parent.Observe)
	l.ID, l.To = messageID(id), []string{to}
	return &notice{
		account: a, key: id + ":" + mailKey(to), event: eventAlert, epoch: onceEpoch, server: "mail", host: "mail",
		send: func(ctx context.Context) error {
			if h.mail == nil {
				return fmt.Errorf("%w: an alert can't be mailed: no mail server is set", errNever)
			}
			return h.mail.Send(ctx, l)
		},
	}
}

// alertLetter says what happened and what it means.
func alertLetter(a *metering.Account, al *jobs.Alert, observed bool) *notify.Letter {
	at := time.UnixMilli(al.At).UTC()
	l := &notify.Letter{At: at}
	when := at.Format("2006-01-02 15:04 MST")
	if al.Limit == limitNoPrice {
		l.Subject = fmt.Sprintf("%s: no price for %s", a.Name, al.Channel)
		l.Text = fmt.Sprintf("Records of %s (%s) on the channel %s have no price since %s.\nThey are kept aside and charged to nobody until the price plan has one for them.\n", a.Name, a.ID, al.Channel, when)
		return l
	}
	what := map[string]string{
		"wallet": "the wallet", "budget": "the budget", "credit": "the month's credit limit", "monthly_limit": "the monthly limit",
	}[al.Limit]
	l.Subject = fmt.Sprintf("%s: %d %% of %s used", a.Name, al.Share, what)
	l.Text = fmt.Sprintf("%s (%s) has used %d %% of %s, as of %s (%s).\n", a.Name, a.ID, al.Share, what, when, al.Period)
	if al.Share >= 100 && !observed {
		l.Text += "Further messages are refused until that changes.\n"
	}
	return l
}
