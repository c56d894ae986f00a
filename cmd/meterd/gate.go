package main

import (
	"errors"
	"fmt"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/gate"
)

// gateCmd asks what a channel service would be told.
type gateCmd struct {
	ID      string `arg:"" help:"The account."`
	Channel string `required:"" help:"The channel." placeholder:"C"`
	Priced  bool   `name:"refuse-unpriced" help:"Refuse a channel that the account's price plan has no rule for."`
	As      string `help:"What that account may see." placeholder:"ID"`
	Code    bool   `name:"exit-code" help:"Exit with 4 where it may not send."`
}

// gateAnswer is what it prints; every code is safe to pass on.
type gateAnswer struct {
	Allowed bool   `json:"allowed"`
	Code    string `json:"code"`
	Epoch   *int64 `json:"epoch,omitempty"`
}

// errNoAnswer: a rule for what isn't known is a channel service's, not an operator's.
var errNoAnswer = errors.New("redis doesn't answer in time, or its projection is being made anew: try again in a moment")

// Run implements the command.
func (c *gateCmd) Run(a *app) error {
	if !metering.ValidWord(c.Channel) { // of a record it would be malformed
		return wrongInput("--channel: give a lower-case word such as sms, at most 32 bytes")
	}
	info, err := a.addresses()
	if err != nil {
		return err
	}
	rdb, err := openRedis(info.Redis, info.RedisPassword, 2)
	if err != nil {
		return err
	}
	defer func() { _ = rdb.Close() }()
	if err := pingRedis(a.ctx, rdb, &info); err != nil {
		return err
	}
	hide := false
	if c.As != "" {
		e, done, err := a.connect()
		if err != nil {
			return err
		}
		defer done()
		aud, _, err := e.one(c.As, c.ID)
		if err != nil {
			return err
		}
		hide = aud == metering.AudienceReseller
	}
	store := balance.New(rdb, a.Partitions)
	if err := store.Fits(a.ctx); err != nil {
		return err
	}
	// No message waits for this answer: a busy machine's is better late than "unknown".
	got := gate.New(rdb, gate.Options{Partitions: a.Partitions, RefuseUnpriced: c.Priced, Timeout: pingMax}).Check(a.ctx, c.ID, c.Channel)
	if got.Stale {
		return errNoAnswer
	}
	out := gateAnswer{Allowed: got.Allowed, Code: string(got.Code), Epoch: &got.Epoch}
	if hide {
		out.Epoch = nil
	}
	if a.JSON {
		if err := a.printJSON(out); err != nil {
			return err
		}
	} else {
		word := "may not send"
		if out.Allowed {
			word = "may send"
		}
		_, _ = fmt.Fprintf(a.out, "%s %s on %s (%s)\n", c.ID, word, c.Channel, out.Code)
	}
	if c.Code && !out.Allowed {
		return errGate
	}
	return nil
}
