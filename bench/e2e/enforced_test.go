package e2e_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/bench/internal/traffic"
)

// hookSecret signs the hooks' messages.
const hookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// told is the data of a hook's message.
type told struct {
	AccountID string   `json:"account_id"`
	State     string   `json:"state"`
	Reasons   []string `json:"reasons"`
	Epoch     int64    `json:"epoch"`
}

// receiver is a webhook's other end: it verifies and keeps every message.
type receiver struct {
	*httptest.Server

	mu   sync.Mutex
	got  []told
	ids  []string
	bad  []error
	fail int // so many are answered with an error first
}

func newReceiver(tb testing.TB) *receiver {
	tb.Helper()
	verifier, err := standardwebhooks.NewWebhook(hookSecret)
	require.NoError(tb, err)
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.fail > 0 {
			r.fail--
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		var m struct{ Data told }
		for _, e := range []error{err, verifier.Verify(body, req.Header), json.Unmarshal(body, &m)} {
			if e != nil {
				r.bad = append(r.bad, e)
			}
		}
		r.got = append(r.got, m.Data)
		r.ids = append(r.ids, req.Header.Get("webhook-id"))
	}))
	tb.Cleanup(r.Close)
	return r
}

// last is what the receiver was told last of an account: "" if nothing.
func (r *receiver) last(account string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range slices.Backward(r.got) {
		if m.AccountID == account {
			return strings.TrimSpace(m.State + " " + strings.Join(m.Reasons, ","))
		}
	}
	return ""
}

// limits is the book of the enforcement test.
func limits(hook string) *traffic.Book {
	sms := []string{"sms"}
	return &traffic.Book{
		Plans: []traffic.Plan{{ID: "flat", Currency: "EUR", Versions: []traffic.Version{{
			From: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), Rules: []traffic.Rule{{Channel: "sms", Unit: "segment", Price: "1"}},
		}}}},
		Accounts: []traffic.Account{
			{ID: "pre", Module: "enterprise", Zone: "Europe/Rome", Plan: "flat", Mode: "prepaid", Hook: hook},
			{ID: "pre-own", Parent: "pre", Source: "allocated", Channels: sms},
			{ID: "pre-all", Parent: "pre", Source: "shared", Channels: sms},
			{ID: "pre-capped", Parent: "pre", Source: "shared", Monthly: "3", Channels: sms},
			{ID: "post", Module: "enterprise", Zone: "Asia/Kathmandu", Plan: "flat", Mode: "postpaid", Credit: "5", Hook: hook},
			{ID: "post-a", Parent: "post", Channels: sms},
			{ID: "post-b", Parent: "post", Channels: sms},
		},
	}
}

// enforcement drives one system through its suspensions.
type enforcement struct {
	t    *testing.T
	c    cli
	hook *receiver
	book *traffic.Book
	next int
}

// send charges so many messages of 1 EUR.
func (e *enforcement) send(account string, n int) {
	e.t.Helper()
	var lines []string
	for range n {
		e.next++
		u := traffic.Usage{ID: "e" + string(rune('a'+e.next%26)) + time.Now().Format("150405.000000000"), AccountID: account, Channel: "sms", OccurredAt: time.Now().UTC().Format(time.RFC3339Nano)}
		lines = append(lines, u.Line())
	}
	got := enqueue(e.t, e.c, lines)
	require.Equal(e.t, int64(n), got.Stored, "%+v", got)
}

// are wants these accounts suspended, for these reasons, and no other; the
// gate says so within a second.
func (e *enforcement) are(want map[string]string) {
	e.t.Helper()
	got := map[string]string{}
	started := time.Now()
	eventually(e.t, "the states are as they must be", 20*time.Second, func() bool {
		clear(got)
		for _, l := range list[accountLine](e.t, e.c, "accounts", "list") {
			if l.State != "active" {
				got[l.ID] = strings.Join(l.Reasons, ",")
			}
		}
		return len(got) == len(want) || time.Since(started) > 10*time.Second
	})
	require.Equal(e.t, want, got)
	for _, a := range e.book.Accounts {
		g := one[struct {
			Allowed bool
			Code    string
		}](e.t, e.c, "gate", a.ID, "--channel", "sms")
		_, suspended := want[a.ID]
		assert.Equal(e.t, !suspended, g.Allowed, "gate of %s", a.ID)
	}
}

// told wants the hook to have been told last so of an account.
func (e *enforcement) told(account, state string) {
	e.t.Helper()
	eventually(e.t, "the hook hears of "+account+": "+state, 20*time.Second, func() bool { return e.hook.last(account) == state })
}

// TestEnforced takes each of the five reasons through its life.
func TestEnforced(t *testing.T) {
	t.Parallel()
	e := &enforcement{t: t, hook: newReceiver(t)}
	e.book = limits(e.hook.URL)
	s := up(t, []string{"HOOK_SECRET=" + hookSecret})
	e.c = s.cli()
	e.c.run(t, "accounts", "apply", "-f", e.book.File(t))
	wallet := func(verb, account, amount, ref string) { e.c.run(t, "wallet", verb, account, amount, "--ref", ref) }

	// Suspended from birth, and nobody is told.
	born := map[string]string{"pre": "wallet_exhausted", "pre-own": "budget_exhausted", "pre-all": "wallet_exhausted", "pre-capped": "wallet_exhausted"}
	e.are(born)
	assert.Empty(t, e.hook.last("pre"))
	wallet("topup", "pre", "20", "t1")
	e.are(map[string]string{"pre-own": "budget_exhausted"})
	wallet("allocate", "pre-own", "2", "a1")
	e.are(map[string]string{})

	// budget_exhausted: that sub-account alone.
	e.send("pre-own", 2)
	e.are(map[string]string{"pre-own": "budget_exhausted"})
	e.told("pre-own", "suspended budget_exhausted")
	wallet("allocate", "pre-own", "1", "a2")
	e.are(map[string]string{})
	e.told("pre-own", "active")

	// monthly_limit: that sub-account alone; a raised limit lifts it.
	e.send("pre-capped", 3)
	e.are(map[string]string{"pre-capped": "monthly_limit"})
	e.told("pre-capped", "suspended monthly_limit")

	// wallet_exhausted: the parent and who shares; reasons add up.
	e.send("pre-all", 14)
	e.are(map[string]string{"pre": "wallet_exhausted", "pre-all": "wallet_exhausted", "pre-capped": "wallet_exhausted,monthly_limit"})
	e.told("pre", "suspended wallet_exhausted")
	e.told("pre-all", "suspended wallet_exhausted")
	wallet("topup", "pre", "10", "t2")
	e.are(map[string]string{"pre-capped": "monthly_limit"})
	e.told("pre-all", "active")
	e.book.Account("pre-capped").Monthly = "100"
	e.c.run(t, "accounts", "apply", "-f", e.book.File(t))
	e.are(map[string]string{})
	e.told("pre-capped", "active")

	// credit_ceiling: everybody below the parent.
	e.send("post-a", 5)
	e.are(map[string]string{"post": "credit_ceiling", "post-a": "credit_ceiling", "post-b": "credit_ceiling"})
	for _, id := range []string{"post", "post-a", "post-b"} {
		e.told(id, "suspended credit_ceiling")
	}
	e.book.Account("post").Credit = "50"
	e.c.run(t, "accounts", "apply", "-f", e.book.File(t))
	e.are(map[string]string{})
	e.told("post-b", "active")

	e.manual()
	e.c.run(t, "reconcile")
	e.hook.mu.Lock()
	defer e.hook.mu.Unlock()
	assert.Empty(t, e.hook.bad, "every message is signed and well formed")
	assert.Len(t, slices.Compact(slices.Sorted(slices.Values(e.hook.ids))), len(e.hook.ids), "each epoch is told once: %v", e.hook.ids)
	epochs := map[string]int64{}
	for _, m := range e.hook.got {
		assert.Greater(t, m.Epoch, epochs[m.AccountID], "epochs of %s rise", m.AccountID)
		epochs[m.AccountID] = m.Epoch
	}
	s.Stop(t)
}

// manual: who imposed it lifts it.
func (e *enforcement) manual() {
	t := e.t
	e.c.run(t, "suspend", "pre-all", "--note", "fraud")
	e.are(map[string]string{"pre-all": "manual"})
	e.told("pre-all", "suspended manual")
	r := e.c.try(context.Background(), t, "resume", "pre-all", "--actor", "pre")
	assert.Equal(t, 1, r.code, "a parent can't lift what the operator imposed: %s%s", r.out, r.err)
	e.are(map[string]string{"pre-all": "manual"})
	e.c.run(t, "suspend", "pre-all", "--note", "mine", "--actor", "pre")
	e.c.run(t, "resume", "pre-all")
	e.are(map[string]string{"pre-all": "manual"}) // the parent's stands
	e.c.run(t, "resume", "pre-all", "--actor", "pre")
	e.are(map[string]string{})
	e.told("pre-all", "active")

	r = e.c.try(context.Background(), t, "suspend", "pre-all", "--note", "x", "--actor", "post")
	assert.Equal(t, 2, r.code, "another parent's account is unknown")
	e.hook.mu.Lock()
	e.hook.fail = 2 // the hook is away for a while
	e.hook.mu.Unlock()
	e.c.run(t, "suspend", "post", "--note", "unpaid")
	e.are(map[string]string{"post": "manual", "post-a": "manual", "post-b": "manual"})
	for _, id := range []string{"post", "post-a", "post-b"} {
		e.told(id, "suspended manual")
	}
	e.c.run(t, "resume", "post")
	e.are(map[string]string{})
	e.told("post-b", "active")
}

// TestTheGateRefusesAtOnce: what a limit says of a charge is known with it, so
// the first answer after the charge is a refusal.
func TestTheGateRefusesAtOnce(t *testing.T) {
	t.Parallel()
	b := limits("")
	s := up(t, nil)
	c := s.cli()
	c.run(t, "accounts", "apply", "-f", b.File(t))
	c.run(t, "wallet", "topup", "pre", "5", "--ref", "t")
	e := &enforcement{t: t, c: c, book: b}
	e.send("pre-all", 5) // returns when they are stored
	assert.False(t, one[struct{ Allowed bool }](t, c, "gate", "pre-all", "--channel", "sms").Allowed)
}
