package suspend

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/worker/pipeline"
)

// factsMax bounds the facts of one round.
const factsMax = 500

// relayEvery is the least time between two rounds: facts of a burst go together.
const relayEvery = 25 * time.Millisecond

// Relay makes each fact of an outbox a row in the ledger and a job, then trims it. Two
// relays at once are harmless: rows and jobs have the fact's own ids.
type Relay struct{ Deps }

// Run relays a partition's until ctx ends. waits is a client for idle waits; token
// tells this process from others.
func (r *Relay) Run(ctx context.Context, waits redis.UniversalClient, p int, token string) error {
	tick := time.NewTicker(relayEvery)
	defer tick.Stop()
	for {
		n, err := r.Once(ctx, p, token)
		if err != nil && ctx.Err() == nil {
			r.Log.WarnContext(ctx, "outbox relay", slog.Int("partition", p), pipeline.Because(err), slog.Any("error", err))
			n = 0
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
		}
		if n == factsMax && ctx.Err() == nil {
			continue
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		if n == 0 && err == nil {
			_ = balance.AwaitFact(ctx, waits, p, wire.IdleWait) // the next round tells of an error
		}
	}
}

// Once relays what a partition's outbox holds, at most factsMax, and says how many.
func (r *Relay) Once(ctx context.Context, p int, token string) (int, error) {
	facts, err := r.Store.Facts(ctx, p, factsMax)
	if err != nil || len(facts) == 0 {
		return 0, err
	}
	ok, err := r.Store.Lease(ctx, p, "relay", token, 5*time.Second)
	if err != nil || !ok {
		return 0, err
	}
	if err := r.record(ctx, p, facts); err != nil {
		return 0, err
	}
	for i := range facts {
		if err := r.job(ctx, &facts[i]); err != nil {
			return 0, err
		}
	}
	return len(facts), r.Store.Relayed(ctx, p, facts)
}

// record makes the facts rows of the ledger.
func (r *Relay) record(ctx context.Context, p int, facts []balance.Fact) error {
	var states []ledger.StateRow
	var transfers []ledger.TransferRow
	var opened []ledger.Breaker
	var alerts []ledger.AlertRow
	for i := range facts {
		f := facts[i].Fields
		switch f["k"] {
		case "state":
			states = append(states, ledger.StateRow{
				AccountID: f["id"], ParentID: parentOf(f), Epoch: epochOf(f), Flags: metering.Flags(integer(f["f"])), HeldBack: metering.Flags(integer(f["h"])),
				Cause: f["cause"], Period: f["per"], Actor: f["actor"], Note: f["note"], At: time.UnixMilli(integer(f["at"])).UTC(),
			})
		case "breaker":
			opened = append(opened, ledger.Breaker{Partition: p, Open: true, AccountID: f["id"], At: time.UnixMilli(integer(f["at"])).UTC()})
		case "alert":
			alerts = append(alerts, ledger.AlertRow{
				AccountID: f["id"], ParentID: parentOf(f), Limit: f["limit"], Mark: f["mark"], Share: int(integer(f["share"])), Period: f["per"],
				Epoch: integer(f["e"]), At: time.UnixMilli(integer(f["at"])).UTC(),
			})
		case "transfer":
			row := ledger.TransferRow{Booked: f["booked"], At: time.UnixMilli(integer(f["at"])).UTC(), Epoch: integer(f["e"]), Seq: integer(f["seq"]), Base: metering.Micros(integer(f["base"]))}
			if err := json.Unmarshal([]byte(f["row"]), &row.Transfer); err != nil {
				return fmt.Errorf("outbox %s: %w", facts[i].ID, err)
			}
			if row.Transfer.Amount == 0 { // decided by the script: the whole balance
				row.Transfer.Amount = metering.Micros(integer(f["amount"]))
			}
			for _, side := range []string{"from", "to"} {
				if held := f[side+"_after"]; held != "" {
					if row.After == nil {
						row.After = map[string]metering.Micros{}
					}
					row.After[f[side]] = metering.Micros(integer(held))
				}
			}
			transfers = append(transfers, row)
		}
	}
	if err := r.Ledger.InsertStates(ctx, states); err != nil {
		return err
	}
	if err := r.Ledger.InsertAlerts(ctx, alerts); err != nil {
		return err
	}
	for i := range opened {
		if err := r.Ledger.InsertBreaker(ctx, &opened[i]); err != nil {
			return err
		}
	}
	if err := r.Ledger.InsertTransfers(ctx, transfers); err != nil {
		return err
	}
	for _, t := range transfers {
		if err := r.Store.Confirm(ctx, p, t.Epoch, t.Transfer.Ref); err != nil {
			return r.Projections.ForgetIfOver(p, err)
		}
	}
	return nil
}

func parentOf(f map[string]string) string {
	if f["par"] == "" {
		return f["id"]
	}
	return f["par"]
}

// epochOf the account that a fact is about: of the fact's own projection, which
// may be over by now.
func epochOf(f map[string]string) int64 {
	return balance.AccountEpoch(integer(f["e"]), integer(f["n"]), integer(f["pn"]))
}

func integer(s string) int64 {
	n, _ := strconv.ParseInt(s, 10, 64)
	return n
}

// job enqueues what a fact asks for, under an id of the fact's own.
func (r *Relay) job(ctx context.Context, fact *balance.Fact) error {
	f := fact.Fields
	switch f["k"] {
	case "state":
		if f["only"] != "" {
			return nil // what is held back changed; the state didn't
		}
		change := wire.StateChange{
			AccountID: f["id"], ParentID: f["par"], Epoch: epochOf(f),
			Flags: uint16(integer(f["f"])), Was: uint16(integer(f["was"])), At: integer(f["at"]),
		}
		return wire.EnqueueStateChange(ctx, r.Queue, change)
	case "breaker":
		return wire.EnqueueAccountJob(ctx, r.Queue, wire.TypeBreaker, "breaker:"+f["e"]+":"+fact.ID, wire.Breaker{
			AccountID: f["id"], ParentID: parentOf(f), Most: integer(f["most"]), At: integer(f["at"]),
		})
	case "alert":
		share, _ := strconv.Atoi(f["share"])
		a := wire.Alert{
			AccountID: f["id"], ParentID: f["par"], Limit: f["limit"], Share: share, Mark: f["mark"], Period: f["per"], At: integer(f["at"]),
		}
		id := strings.Join([]string{"alert", f["e"], a.AccountID, a.Limit, a.Mark, f["share"]}, ":")
		return wire.EnqueueAccountJob(ctx, r.Queue, wire.TypeAlert, id, a)
	}
	return nil
}
