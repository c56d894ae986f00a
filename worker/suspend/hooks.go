package suspend

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meterd/meterd/internal/deliver"
	"github.com/meterd/meterd/internal/notify"
	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/ledger"
)

// Hook events.
const (
	eventSuspend = "suspend"
	eventResume  = "resume"
	eventAlert   = "alert"
)

// StateData is the data of a state hook (docs/interface.md, Hooks), for the parent and the
// operator, who may see every reason.
type StateData struct {
	AccountID  string   `json:"account_id"`
	State      string   `json:"state"`
	Reasons    []string `json:"reasons"`
	Epoch      int64    `json:"epoch"`
	Period     string   `json:"period"`
	OccurredAt string   `json:"occurred_at"`
}

// stamp writes an instant as hooks have it.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z07:00") }

// HookOptions say whom hooks tell, and by what.
type HookOptions struct {
	// Operator's hooks, beside each parent's.
	Operator []metering.Hook
	// Mail sends alerts. Default nil: there is no server.
	Mail *notify.Mail
	// Sender sends messages. Default: to webhooks.
	Sender Sender
}

// Sender is what delivers a message.
type Sender interface {
	Send(ctx context.Context, address string, secret notify.Secret, m *notify.Message, now time.Time) error
}

// Hooks are the handlers of the suspensions queue.
type Hooks struct {
	Deps

	sender   Sender
	operator []metering.Hook
	mail     *notify.Mail // nil: there is no server
	gates    *deliver.Gates
	tenants  turns         // parents with tasks in hand
	telling  turns         // whom is being told something
	inserts  chan struct{} // outcomes on their way to the ledger
}

// Bounds of the suspensions queue. Of a parent a few tasks are in hand at a time,
// and of a server that hasn't answered lately one: so there is always room for
// others, however many hooks hang.
const (
	HooksInHand   = 1024
	TenantMax     = 32
	silentMax     = 128 // tries at servers that didn't answer last time
	receiversMax  = 8   // of one task, at a time
	hookWait      = time.Second
	insertsAtOnce = 8
)

// NewHooks returns the handlers.
func NewHooks(d Deps, o HookOptions) *Hooks {
	if o.Sender == nil {
		o.Sender = notify.NewWebhook()
	}
	return &Hooks{
		Deps: d, sender: o.Sender, operator: o.Operator, mail: o.Mail,
		gates:   deliver.NewGates(deliver.GateOptions{Wait: hookWait, Lane: silentMax}),
		inserts: make(chan struct{}, insertsAtOnce),
	}
}

// fanPage is how many sub-accounts' jobs one script's worth of work holds.
const fanPage = 500

// StateTask tells an account's hooks its present state, if that is newer than
// what they were told. A parent's change goes on to the sub-accounts that it
// concerns, each by a job of its own.
func (h *Hooks) StateTask(ctx context.Context, _ string, payload []byte) error {
	var c wire.StateChange
	if err := json.Unmarshal(payload, &c); err != nil {
		return h.poison(ctx, payload, err)
	}
	if c.ParentID != "" { // a parent's own are few, and others come from them
		leave, err := h.tenants.enter(c.ParentID, TenantMax)
		if err != nil {
			return err
		}
		defer leave()
		if h.shut(c.AccountID) {
			return ErrTurn // so many may wait that even looking costs
		}
	}
	// A hook that was applied just before the change must be told of it.
	if err := h.Projections.Current(ctx, h.Store.PartitionOf(cmp.Or(c.ParentID, c.AccountID))); err != nil {
		return err
	}
	if c.ParentID == "" {
		if err := h.fanOut(ctx, &c); err != nil {
			return err
		}
	}
	return h.tell(ctx, c.AccountID, c.At)
}

// shut tells whether none of an account's hooks can be asked now.
func (h *Hooks) shut(id string) bool {
	a := h.Snapshots.Current().Accounts[id]
	if a == nil {
		return false
	}
	list := h.hooksOf(a)
	return len(list) > 0 && !slices.ContainsFunc(list, func(hook metering.Hook) bool { return !h.gates.Shut(gateOf(&hook)) })
}

// poison drops a job that no retry mends; its fact stands in the ledger.
func (h *Hooks) poison(ctx context.Context, _ []byte, err error) error {
	h.Log.ErrorContext(ctx, "unreadable account job dropped", slog.Any("error", err))
	return nil
}

// fanOut enqueues a job for each sub-account that a parent's change reaches, once
// however often the parent's own hooks have to be tried.
func (h *Hooks) fanOut(ctx context.Context, c *wire.StateChange) error {
	p, key := h.Store.PartitionOf(c.AccountID), "fan:"+c.AccountID
	if done, err := h.Store.HookTold(ctx, p, key); err != nil || done.Epoch >= c.Epoch {
		return err
	}
	if err := h.fan(ctx, c); err != nil {
		return err
	}
	return h.Store.SetHookTold(ctx, p, key, c.Epoch, "", "")
}

func (h *Hooks) fan(ctx context.Context, c *wire.StateChange) error {
	snap := h.Snapshots.Current()
	for page := range slices.Chunk(snap.Subs[c.AccountID], fanPage) {
		for _, id := range page {
			source := snap.Accounts[id].Source
			if metering.Flags(c.Flags).Inherited(source) == metering.Flags(c.Was).Inherited(source) {
				continue
			}
			st, err := h.Store.State(ctx, id)
			if err != nil {
				return err
			}
			if !st.Held {
				continue
			}
			own, inherited := st.Flags(h.Clock.Now().UnixMilli())
			sub := wire.StateChange{AccountID: id, ParentID: c.AccountID, Epoch: st.Epoch, Flags: uint16(own | inherited), At: c.At}
			if err := wire.EnqueueStateChange(ctx, h.Queue, sub); err != nil {
				return err
			}
		}
	}
	return nil
}

// tell delivers the account's present state to each hook that is behind. What is
// told of an epoch is the same whichever task tells it. at: when the task's own
// came about, for what a rebuild has made.
func (h *Hooks) tell(ctx context.Context, id string, at int64) error {
	st, err := h.Store.State(ctx, id)
	if err != nil {
		return err
	}
	a := h.Snapshots.Current().Accounts[id]
	if a == nil || !st.Held {
		return nil
	}
	own, inherited := st.Flags(h.Clock.Now().UnixMilli())
	flags := own | inherited
	if st.At != 0 {
		at = st.At
	}
	data := StateData{
		AccountID: id, State: string(metering.StateActive), Reasons: flags.Reasons(), Epoch: st.Epoch,
		Period:     a.Calendar.Of(time.UnixMilli(at)).Name,
		OccurredAt: stamp(time.UnixMilli(at)),
	}
	event := eventResume
	if flags != 0 {
		data.State, event = string(metering.StateSuspended), eventSuspend
	}
	what := data.State + " " + strings.Join(data.Reasons, ",")
	m := &notify.Message{ID: "msg_" + id + "_" + strconv.FormatInt(st.Epoch, 10), Type: "account." + event, At: time.UnixMilli(at), Data: data}
	list := h.hooksOf(a)
	if len(list) == 0 {
		return h.none(ctx, a, event, st.Epoch)
	}
	notices := make([]*notice, len(list))
	for i, hook := range list {
		notices[i] = &notice{account: a, key: id + ":" + hookKey(&hook), event: event, epoch: st.Epoch, what: what, shown: st.Epoch}
		if hook.Wants(event) {
			h.byHook(notices[i], &hook, m)
		}
	}
	return h.bringAll(ctx, notices)
}

// none notes that there was nobody to tell.
func (h *Hooks) none(ctx context.Context, a *metering.Account, event string, epoch int64) error {
	return h.insert(ctx, &ledger.Delivery{
		AccountID: a.ID, Event: event, Epoch: epoch, Outcome: "none", At: h.Clock.Now().UTC(),
	})
}

// hooksOf an account: its parent's and the operator's, each once.
func (h *Hooks) hooksOf(a *metering.Account) []metering.Hook {
	list := slices.Clone(h.operator)
	if p := h.Snapshots.Current().Accounts[a.Parent()]; p != nil {
		list = append(list, p.Hooks...)
	}
	known := map[string]bool{}
	return slices.DeleteFunc(list, func(hook metering.Hook) bool {
		key := hookKey(&hook)
		twice := known[key]
		known[key] = true
		return twice
	})
}

// hookKey tells a hook from others: one address may have several, each for events
// of its own.
func hookKey(hook *metering.Hook) string {
	return strings.Join(append([]string{hook.URL}, slices.Sorted(slices.Values(hook.Events))...), " ")
}

// lowerAlerts are the tasks of the lower shares of the same limit and mark.
func (h *Hooks) lowerAlerts(a *metering.Account, al *wire.Alert, id string) (out []string) {
	p := h.Snapshots.Current().Accounts[a.Parent()]
	prefix, ok := strings.CutSuffix(id, ":"+strconv.Itoa(al.Share))
	if p == nil || !ok || al.Share == 0 {
		return nil
	}
	for _, share := range p.Alerts {
		if share < al.Share {
			out = append(out, prefix+":"+strconv.Itoa(share))
		}
	}
	return out
}

// inOrder puts an alert back while one of a lower share is still on its way to
// the same receiver: alerts come in the order of their shares.
func (h *Hooks) inOrder(ctx context.Context, a *metering.Account, before []string, to string) error {
	p := h.Store.PartitionOf(a.Parent())
	for _, id := range before {
		told, err := h.Store.HookTold(ctx, p, id+":"+to)
		if err != nil {
			return err
		}
		if told.Epoch != 0 {
			continue
		}
		pending, err := h.Store.Redis().Exists(ctx, wire.TaskKey(wire.QueueSuspensions, id)).Result()
		if err != nil {
			return fmt.Errorf("look for a task: %w", err)
		}
		if pending > 0 {
			return ErrTurn
		}
	}
	return nil
}

// messageID of what a task tells: the same on every retry.
func messageID(task string) string { return "msg_" + strings.ReplaceAll(task, ":", "_") }

// alertData is the data of an alert hook: shares, no figure of money.
type alertData struct {
	AccountID  string `json:"account_id"`
	Limit      string `json:"limit"`
	Share      int    `json:"share"`
	Channel    string `json:"channel,omitempty"` // limit no_price: the channel that has none
	Period     string `json:"period"`
	OccurredAt string `json:"occurred_at"`
}

// AlertTask tells that a share of a limit was passed, once for each mark.
func (h *Hooks) AlertTask(ctx context.Context, id string, payload []byte) error {
	var al wire.Alert
	if err := json.Unmarshal(payload, &al); err != nil {
		return h.poison(ctx, payload, err)
	}
	a := h.Snapshots.Current().Accounts[al.AccountID]
	if a == nil {
		return nil
	}
	leave, err := h.tenants.enter(a.Parent(), TenantMax)
	if err != nil {
		return err
	}
	defer leave()
	m := &notify.Message{ID: messageID(id), Type: "account." + eventAlert, At: time.UnixMilli(al.At), Data: alertData{
		AccountID: al.AccountID, Limit: al.Limit, Share: al.Share, Channel: al.Channel, Period: al.Period,
		OccurredAt: stamp(time.UnixMilli(al.At)),
	}}
	var errs []error
	var notices []*notice
	before := h.lowerAlerts(a, &al, id)
	for _, hook := range h.hooksOf(a) {
		if !hook.Wants(eventAlert) {
			continue
		}
		if err := h.inOrder(ctx, a, before, hookKey(&hook)); err != nil {
			errs = append(errs, err)
			continue
		}
		notices = append(notices, h.once(a, &hook, id, eventAlert, int64(al.Share), m))
	}
	letters, err := h.letters(ctx, a, id, &al, before)
	errs = append(errs, err, h.bringAll(ctx, append(notices, letters...))) // the others keep their marks
	return errors.Join(errs...)
}
