package suspend

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/meterd/meterd/internal/notify"
	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering"
)

// alertReaders are the addresses that may know of an alert: the parent's, and an
// enterprise sub-account's about its own budget and limit; never a reseller's
// sub-account's (docs/domain.md, Funding).
func (h *Hooks) alertReaders(a *metering.Account, al *wire.Alert) []string {
	var out []string
	if p := h.Snapshots.Current().Accounts[a.Parent()]; p != nil {
		out = append(out, p.AlertMail...)
	}
	if !a.IsParent() && a.Audience() == metering.AudienceEnterprise && al.Limit != wire.LimitNoPrice {
		out = append(out, a.AlertMail...)
	}
	return out
}

// mailKey tells an address from other receivers.
func mailKey(to string) string { return "mailto:" + to }

// letters to all who may know of an alert, and whose turn it is. Others keep their
// marks where it isn't known what the alert means for the account.
func (h *Hooks) letters(ctx context.Context, a *metering.Account, id string, al *wire.Alert, before []string) ([]*notice, error) {
	readers := h.alertReaders(a, al)
	if len(readers) == 0 {
		return nil, nil
	}
	now, err := h.consequence(ctx, al)
	if err != nil {
		return nil, err
	}
	var out []*notice
	var errs []error
	for _, to := range readers {
		if err := h.inOrder(ctx, a, before, mailKey(to)); err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, h.letter(a, id, to, al, now))
	}
	return out, errors.Join(errs...)
}

// consequence of an alert, as the account is now.
type consequence int

const (
	unchanged consequence = iota // the limit isn't reached, or no longer, or something else suspends
	refused                      // it suspends the account
	heldBack                     // it would: the parent only observes, or the breaker is open
)

// limitFlags are what a limit sets once it is reached.
func limitFlags(limit string) metering.Flags {
	return map[string]metering.Flags{
		"wallet": metering.FlagWallet, "budget": metering.FlagBudget, "credit": metering.FlagCeiling, "monthly_limit": metering.FlagMonthly,
	}[limit]
}

func (h *Hooks) consequence(ctx context.Context, al *wire.Alert) (consequence, error) {
	flag := limitFlags(al.Limit)
	if al.Share < 100 || flag == 0 {
		return unchanged, nil
	}
	st, err := h.Store.State(ctx, al.AccountID)
	if err != nil {
		return unchanged, err
	}
	now := h.Clock.Now().UnixMilli()
	own, inherited := st.Flags(now)
	switch {
	case own&flag != 0:
		return refused, nil
	case own|inherited == 0 && st.HeldBack(now)&flag != 0:
		return heldBack, nil
	}
	return unchanged, nil
}

// letter to one address, once for its task's id. It names the share, no amount.
func (h *Hooks) letter(a *metering.Account, id, to string, al *wire.Alert, now consequence) *notice {
	l := alertLetter(a, al, now)
	l.ID, l.To = messageID(id), []string{to}
	if p := h.Snapshots.Current().Accounts[a.Parent()]; p != nil && p.Issuer != nil && slices.Contains(p.AlertMail, to) {
		l.Sender = p.Issuer.Name
	}
	return &notice{
		account: a, key: id + ":" + mailKey(to), event: eventAlert, epoch: onceEpoch, server: "mail", host: "mail",
		whose: a.Parent(), receiver: "mail " + digest(to),
		send: func(ctx context.Context) error {
			if h.mail == nil {
				return fmt.Errorf("%w: an alert can't be mailed: no mail server is set", errNever)
			}
			return h.mail.Send(ctx, l)
		},
	}
}

// alertLetter says what happened and what it means.
func alertLetter(a *metering.Account, al *wire.Alert, now consequence) *notify.Letter {
	at := time.UnixMilli(al.At).UTC()
	l := &notify.Letter{At: at}
	when := at.Format("2006-01-02 15:04 MST")
	if al.Limit == wire.LimitNoPrice {
		l.Subject = fmt.Sprintf("%s: no price for %s", a.Name, al.Channel)
		l.Text = fmt.Sprintf("Records of %s (%s) on the channel %s have no price since %s.\nThey are kept aside and charged to nobody until the price plan has one for them.\n", a.Name, a.ID, al.Channel, when)
		return l
	}
	what := map[string]string{
		"wallet": "the wallet", "budget": "the budget", "credit": "the month's credit limit", "monthly_limit": "the monthly limit",
	}[al.Limit]
	l.Subject = fmt.Sprintf("%s: %d %% of %s used", a.Name, al.Share, what)
	l.Text = fmt.Sprintf("%s (%s) has used %d %% of %s, as of %s (%s).\n", a.Name, a.ID, al.Share, what, when, al.Period)
	switch now {
	case refused:
		l.Text += "Further messages are refused until that changes.\n"
	case heldBack:
		l.Text += "Messages aren't refused for that at present: suspensions are held back.\n"
	case unchanged:
	}
	return l
}
