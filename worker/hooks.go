package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meterd/meterd/internal/notify"
	"github.com/meterd/meterd/jobs"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/ledger"
)

// Hook events.
const (
	eventSuspend = "suspend"
	eventResume  = "resume"
	eventAlert   = "alert"
)

// told is the data of a state hook (INTERFACE.md), for the parent and the
// operator, who may see every reason.
type told struct {
	AccountID  string   `json:"account_id"`
	State      string   `json:"state"`
	Reasons    []string `json:"reasons"`
	Epoch      int64    `json:"epoch"`
	Period     string   `json:"period"`
	OccurredAt string   `json:"occurred_at"`
}

// hookSender is what delivers a message; a test replaces it.
type hookSender interface {
	Send(ctx context.Context, address string, secret notify.Secret, m *notify.Message, now time.Time) error
}

// hooks are the handlers of the suspensions queue.
type hooks struct {
	*engine
	sender   hookSender
	operator []metering.Hook
	mail     *notify.Mail // nil: there is no server
}

// fanPage is how many sub-accounts' jobs one script's worth of work holds.
const fanPage = 500

// stateTask tells an account's hooks its present state, if that is newer than
// what they were told. A parent's change goes on to the sub-accounts that it
// concerns, each by a job of its own.
func (h *hooks) stateTask(ctx context.Context, _ string, payload []byte) error {
	var c jobs.StateChange
	if err := json.Unmarshal(payload, &c); err != nil {
		return h.poison(ctx, payload, err)
	}
	// A hook that was applied just before the change must be told of it.
	if _, err := h.snapshots.Refresh(ctx); err != nil {
		return err
	}
	if c.ParentID == "" {
		if err := h.fanOut(ctx, &c); err != nil {
			return err
		}
	}
	return h.tell(ctx, c.AccountID, c.At)
}

// poison drops a job that no retry mends; its fact stands in the ledger.
func (h *hooks) poison(ctx context.Context, _ []byte, err error) error {
	h.log.ErrorContext(ctx, "unreadable account job dropped", slogError(err))
	return nil
}

// fanOut enqueues a job for each sub-account that a parent's change reaches.
func (h *hooks) fanOut(ctx context.Context, c *jobs.StateChange) error {
	snap := h.snapshots.Current()
	for page := range slices.Chunk(snap.Subs[c.AccountID], fanPage) {
		for _, id := range page {
			source := snap.Accounts[id].Source
			if metering.Flags(c.Flags).Inherited(source) == metering.Flags(c.Was).Inherited(source) {
				continue
			}
			st, err := h.store.State(ctx, id)
			if err != nil {
				return err
			}
			if !st.Held {
				continue
			}
			own, inherited := st.Flags(h.clock.Now().UnixMilli())
			sub := jobs.StateChange{AccountID: id, ParentID: c.AccountID, Epoch: st.Epoch, Flags: uint16(own | inherited), At: c.At}
			if err := h.stateJob(ctx, sub); err != nil {
				return err
			}
		}
	}
	return nil
}

// tell delivers the account's present state to each hook that is behind.
func (h *hooks) tell(ctx context.Context, id string, at int64) error {
	st, err := h.store.State(ctx, id)
	if err != nil {
		return err
	}
	a := h.snapshots.Current().Accounts[id]
	if a == nil || !st.Held {
		return nil
	}
	own, inherited := st.Flags(h.clock.Now().UnixMilli())
	flags := own | inherited
	data := told{
		AccountID: id, State: string(metering.StateActive), Reasons: flags.Reasons(), Epoch: st.Epoch,
		Period:     a.Calendar.Of(time.UnixMilli(at)).Name,
		OccurredAt: time.UnixMilli(at).UTC().Format("2006-01-02T15:04:05.000Z07:00"),
	}
	event := eventResume
	if flags != 0 {
		data.State, event = string(metering.StateSuspended), eventSuspend
	}
	what := data.State + " " + strings.Join(data.Reasons, ",")
	m := &notify.Message{ID: "msg_" + id + "_" + strconv.FormatInt(st.Epoch, 10), Type: "account." + event, At: time.UnixMilli(at), Data: data}
	var errs []error
	list := h.hooksOf(a)
	for _, hook := range list {
		errs = append(errs, h.deliver(ctx, a, &hook, event, st.Epoch, what, m))
	}
	if len(list) == 0 {
		return h.none(ctx, a, event, st.Epoch)
	}
	return errors.Join(errs...)
}

// none notes that there was nobody to tell.
func (h *hooks) none(ctx context.Context, a *metering.Account, event string, epoch int64) error {
	return h.ledger.InsertDelivery(ctx, &ledger.Delivery{
		AccountID: a.ID, Event: event, Epoch: epoch, Outcome: "none", At: h.clock.Now().UTC(),
	})
}

// hooksOf an account: its parent's and the operator's.
func (h *hooks) hooksOf(a *metering.Account) []metering.Hook {
	list := slices.Clone(h.operator)
	if p := h.snapshots.Current().Accounts[a.Parent()]; p != nil {
		list = append(list, p.Hooks...)
	}
	return list
}

// deliver tells one hook, unless it knows as much. An epoch is told once.
func (h *hooks) deliver(ctx context.Context, a *metering.Account, hook *metering.Hook, event string, epoch int64, what string, m *notify.Message) error {
	p := h.store.PartitionOf(a.Parent())
	key := a.ID + ":" + hook.URL
	known, last, err := h.store.HookApplied(ctx, p, key)
	if err != nil {
		return err
	}
	if known >= epoch {
		return nil
	}
	if last != what && (len(hook.Events) == 0 || slices.Contains(hook.Events, event)) {
		if err := h.send(ctx, a, hook, event, epoch, m); err != nil {
			return err
		}
	}
	return h.store.SetHookApplied(ctx, p, key, epoch, what)
}

// send delivers one message and keeps the outcome.
func (h *hooks) send(ctx context.Context, a *metering.Account, hook *metering.Hook, event string, epoch int64, m *notify.Message) error {
	now := h.clock.Now().UTC()
	err := h.sender.Send(ctx, hook.URL, notify.Secret{Env: hook.SecretEnv}, m, now)
	d := ledger.Delivery{AccountID: a.ID, Event: event, Epoch: epoch, Destination: notify.Host(hook.URL), Outcome: "delivered", Attempts: 1, At: now}
	switch {
	case errors.Is(err, notify.ErrGone):
		d.Outcome, err = "gone", nil
	case err != nil:
		d.Outcome = "failed"
	}
	h.metrics.hooks.WithLabelValues(d.Outcome).Inc()
	return errors.Join(err, h.ledger.InsertDelivery(ctx, &d))
}

// once tells one hook of something that has no state, once for its task's id.
func (h *hooks) once(ctx context.Context, a *metering.Account, hook *metering.Hook, id, event string, epoch int64, m *notify.Message) error {
	return h.onceFor(ctx, a, id+":"+hook.URL, func() error { return h.send(ctx, a, hook, event, epoch, m) })
}

// onceFor sends what has no state of its own, once for a key: a task's id and
// whom it is for.
func (h *hooks) onceFor(ctx context.Context, a *metering.Account, key string, send func() error) error {
	p := h.store.PartitionOf(a.Parent())
	known, _, err := h.store.HookApplied(ctx, p, key)
	if err != nil || known != 0 {
		return err
	}
	if err := send(); err != nil {
		return err
	}
	return h.store.SetHookApplied(ctx, p, key, 1, "")
}

// lowerAlerts are the tasks of the lower shares of the same limit and mark.
func (h *hooks) lowerAlerts(a *metering.Account, al *jobs.Alert, id string) (out []string) {
	p := h.snapshots.Current().Accounts[a.Parent()]
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
func (h *hooks) inOrder(ctx context.Context, a *metering.Account, before []string, to string) error {
	p := h.store.PartitionOf(a.Parent())
	for _, id := range before {
		known, _, err := h.store.HookApplied(ctx, p, id+":"+to)
		if err != nil {
			return err
		}
		if known != 0 {
			continue
		}
		pending, err := h.store.Redis().Exists(ctx, "asynq:{"+jobs.QueueSuspensions+"}:t:"+id).Result()
		if err != nil {
			return fmt.Errorf("look for a task: %w", err)
		}
		if pending > 0 {
			return errLater
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

// alertTask tells that a share of a limit was passed, once for each mark.
func (h *hooks) alertTask(ctx context.Context, id string, payload []byte) error {
	var al jobs.Alert
	if err := json.Unmarshal(payload, &al); err != nil {
		return h.poison(ctx, payload, err)
	}
	a := h.snapshots.Current().Accounts[al.AccountID]
	if a == nil {
		return nil
	}
	m := &notify.Message{ID: messageID(id), Type: "account." + eventAlert, At: time.UnixMilli(al.At), Data: alertData{
		AccountID: al.AccountID, Limit: al.Limit, Share: al.Share, Channel: al.Channel, Period: al.Period,
		OccurredAt: time.UnixMilli(al.At).UTC().Format("2006-01-02T15:04:05.000Z07:00"),
	}}
	var errs []error
	before := h.lowerAlerts(a, &al, id)
	for _, hook := range h.hooksOf(a) {
		if len(hook.Events) > 0 && !slices.Contains(hook.Events, eventAlert) {
			continue
		}
		if err := h.inOrder(ctx, a, before, hook.URL); err != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, h.once(ctx, a, &hook, id, eventAlert, int64(al.Share), m))
	}
	errs = append(errs, h.mailAlert(ctx, a, id, &al))
	err := errors.Join(errs...)
	if errors.Is(err, errLater) {
		return errLater // the others keep their marks
	}
	if err != nil {
		return fmt.Errorf("alert: %w", err)
	}
	return nil
}
