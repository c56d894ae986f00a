package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/meterd/meterd/internal/notify"
	"github.com/meterd/meterd/jobs"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/ledger"
)

// mailAlert writes to whoever an alert is for, once for its task's id: the
// parent's addresses, and an enterprise sub-account's about its own budget and
// limit; never to a reseller's sub-account (DOMAIN.md, Funding). A letter names
// the share, no amount.
func (h *hooks) mailAlert(ctx context.Context, a *metering.Account, id string, al *jobs.Alert) error {
	var errs []error
	parent := h.snapshots.Current().Accounts[a.Parent()]
	before := h.lowerAlerts(a, al, id)
	for _, to := range h.alertReaders(a, al) {
		if err := h.inOrder(ctx, a, before, "mailto:"+to); err != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, h.letter(ctx, a, id, to, alertLetter(a, al, parent != nil && parent.Observe)))
	}
	return errors.Join(errs...)
}

// alertReaders are the addresses that may know of an alert.
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

// letter sends one, once for the task's id and the address.
func (h *hooks) letter(ctx context.Context, a *metering.Account, id, to string, l *notify.Letter) error {
	return h.onceFor(ctx, a, id+":mailto:"+to, func() error {
		now := h.clock.Now().UTC()
		l.ID, l.To = messageID(id), []string{to}
		err := h.mail.Send(ctx, l)
		d := ledger.Delivery{AccountID: a.ID, Event: eventAlert, Destination: "mail", Outcome: "delivered", Attempts: 1, At: now}
		if err != nil {
			d.Outcome = "failed"
		}
		h.metrics.hooks.WithLabelValues(d.Outcome).Inc()
		if h.mail == nil { // no retry helps
			h.log.ErrorContext(ctx, "an alert can't be mailed", slogError(err), slog.String("account", a.ID))
			err = nil
		}
		return errors.Join(err, h.ledger.InsertDelivery(ctx, &d))
	})
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
