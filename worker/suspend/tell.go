package suspend

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/meterd/meterd/internal/deliver"
	"github.com/meterd/meterd/internal/notify"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/ledger"
)

// notice is what one receiver, a hook or a mail address, is to know.
type notice struct {
	account *metering.Account
	key     string // of the receiver and the account, or the task
	event   string
	epoch   int64  // of the account's state; onceEpoch of what has none
	what    string // the state; "" of what has none
	shown   int64  // what the ledger names as epoch

	server   string                          // whose gate it goes through
	host     string                          // what of the address may be shown
	whose    string                          // the parent whose receiver it is, "" of the operator's
	receiver string                          // tells it from the others of whose it is
	hook     string                          // its digest; "": it is no hook
	send     func(ctx context.Context) error // nil: it isn't to be told this
}

// onceEpoch is that of what is told once and has no state.
const onceEpoch = 1

// gateOf names a hook's server.
func gateOf(hook *metering.Hook) string { return "hook " + notify.Host(hook.URL) }

// byHook sends the notice as a message to a hook.
func (h *Hooks) byHook(n *notice, hook *metering.Hook, m *notify.Message) {
	h.of(n, hook)
	n.server = gateOf(hook)
	n.send = func(ctx context.Context) error {
		return h.sender.Send(ctx, hook.URL, notify.Secret{Env: hook.SecretEnv}, m, h.Clock.Now().UTC())
	}
}

// once tells one hook of something that has no state, once for its task's id.
func (h *Hooks) once(a *metering.Account, hook *metering.Hook, id, event string, shown int64, m *notify.Message) *notice {
	n := &notice{account: a, key: id + ":" + hookKey(hook), event: event, epoch: onceEpoch, shown: shown}
	h.byHook(n, hook, m)
	return n
}

// bringAll brings notices to their receivers, side by side: one that hangs holds
// up no other.
func (h *Hooks) bringAll(ctx context.Context, list []*notice) error {
	errs := make([]error, len(list))
	var g errgroup.Group
	g.SetLimit(receiversMax)
	for i, n := range list {
		g.Go(func() error {
			errs[i] = h.bring(ctx, n)
			return nil
		})
	}
	_ = g.Wait() // the errors are in errs
	return errors.Join(errs...)
}

// bring tells one receiver, unless it knows as much. An epoch is told once, and
// one after the other.
func (h *Hooks) bring(ctx context.Context, n *notice) error {
	leave, err := h.telling.enter(n.key, 1)
	if err != nil {
		return err
	}
	defer leave()
	p := h.Store.PartitionOf(n.account.Parent())
	told, err := h.Store.HookTold(ctx, p, n.key)
	if err != nil {
		return err
	}
	late := h.note(ctx, p, n.key, told.Row) // of an earlier try, if the ledger was away then
	if told.Epoch >= n.epoch {
		return late
	}
	if n.send == nil || n.what != "" && told.What == n.what {
		return errors.Join(late, h.Store.SetHookTold(ctx, p, n.key, n.epoch, n.what, ""))
	}
	err = h.gates.Run(ctx, n.server, func() error { return n.send(ctx) })
	if errors.Is(err, deliver.ErrBusy) || err != nil && ctx.Err() != nil {
		return errors.Join(err, late) // no try
	}
	return errors.Join(late, h.outcome(ctx, p, n, told.Tries, err))
}

// outcome keeps what became of a try: in Redis first, so that it isn't told again
// while the ledger is away. Of tries that fail only the first is kept.
func (h *Hooks) outcome(ctx context.Context, p int, n *notice, tries int, err error) error {
	d := ledger.Delivery{
		AccountID: n.account.ID, Event: n.event, Epoch: n.shown, Destination: n.host, Outcome: ledger.OutcomeDelivered, Attempts: tries + 1, At: h.Clock.Now().UTC(),
	}
	again := false
	switch {
	case errors.Is(err, notify.ErrGone):
		d.Outcome, err = ledger.OutcomeGone, nil
	case errors.Is(err, errNever):
		h.Log.ErrorContext(ctx, "somebody can't be told", slog.Any("error", err), slog.String("account", n.account.ID))
		d.Outcome, err = ledger.OutcomeFailed, nil
	case err != nil:
		d.Outcome, again = ledger.OutcomeFailed, true
	}
	h.Metrics.Hooks.WithLabelValues(d.Outcome).Inc()
	marked := h.mark(ctx, n, d.Attempts, err)
	row, bad := json.Marshal(d)
	if bad != nil {
		return fmt.Errorf("note what became of a message: %w", bad)
	}
	var kept error
	switch {
	case !again:
		kept = h.Store.SetHookTold(ctx, p, n.key, n.epoch, n.what, string(row))
	case tries == 0:
		kept = h.Store.HookFailed(ctx, p, n.key, string(row))
	default:
		return errors.Join(err, marked, h.Store.HookFailed(ctx, p, n.key, ""))
	}
	return errors.Join(err, marked, kept, h.note(ctx, p, n.key, string(row)))
}

// note brings an outcome to the ledger.
func (h *Hooks) note(ctx context.Context, p int, key, row string) error {
	if row == "" {
		return nil
	}
	var d ledger.Delivery
	if err := json.Unmarshal([]byte(row), &d); err != nil {
		h.Log.ErrorContext(ctx, "an outcome that can't be read was dropped", slog.Any("error", err))
	} else if err := h.insert(ctx, &d); err != nil {
		return err
	}
	return h.Store.HookWritten(ctx, p, key)
}

func (h *Hooks) insert(ctx context.Context, d *ledger.Delivery) error {
	select {
	case h.inserts <- struct{}{}: // an insert is bounded
		defer func() { <-h.inserts }()
	case <-ctx.Done():
		return ctx.Err()
	}
	return h.Ledger.InsertDelivery(ctx, d)
}

// turns bound how many are at it at once, for each key.
type turns struct {
	mu sync.Mutex
	at map[string]int // of those that are at it
}

// enter takes a turn; ErrTurn if so many have one.
func (t *turns) enter(key string, most int) (leave func(), err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.at[key] >= most {
		return nil, ErrTurn
	}
	if t.at == nil {
		t.at = map[string]int{}
	}
	t.at[key]++
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.at[key]--; t.at[key] == 0 {
			delete(t.at, key)
		}
	}, nil
}
