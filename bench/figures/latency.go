package figures

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/meterd/meterd/jobs"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/gate"
)

func latency() []measurement {
	return []measurement{{
		name: "limits under load", run: limits, figures: []Figure{
			{Name: "refusal p50", Unit: "ms", Goal: 15, AtMost: true},
			{Name: "refusal p99", Unit: "ms", Goal: 60, AtMost: true},
			{Name: "overshoot p99", Unit: "records", Goal: 100, AtMost: true},
		},
	}}
}

const (
	// oneMessage is a monthly limit that one message passes.
	oneMessage = "0.01"
	// someMessages is one that fastRate's messages of half a second pass.
	someMessages = 500
	fastRate     = 1000 // records a second of a sub-account of its own
	price        = 41_200
)

// limited are the accounts of the load, and two parents with limits.
func limited(trials, fast int) string {
	var b strings.Builder
	b.WriteString(accountsFile(parents, each))
	for _, p := range []struct {
		id, limit string
		subs      int
	}{
		{"limited", oneMessage, trials}, {"fast", metering.Micros(someMessages * price).String(), fast},
	} {
		_, _ = fmt.Fprintf(&b, "  - id: %s\n    module: enterprise\n    timezone: Europe/Rome\n    plan: standard\n    funding: {mode: prepaid}\n    sub_accounts:\n", p.id)
		for i := range p.subs {
			_, _ = fmt.Fprintf(&b, "      - {id: %s-%d, channels: [sms], funding: {source: shared, monthly_limit: %q}}\n", p.id, i, p.limit)
		}
	}
	return b.String()
}

func message(id, account string) *metering.Record {
	return &metering.Record{
		ID: id, Kind: metering.KindUsage, AccountID: account, Channel: "sms", To: "+393471234567", OccurredAt: time.Now().UTC().Truncate(time.Millisecond),
	}
}

// limits crosses limits while half of the load that it can bear comes in.
func limits(ctx context.Context, b *bench) (_ map[string]float64, err error) {
	trials, fast := b.n(300, 30), b.n(40, 4)
	s, err := b.up(ctx, limited(trials, fast))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.down()) }()
	for _, parent := range []string{"limited", "fast"} {
		if _, err := s.cli(ctx, "wallet", "topup", parent, "100000", "--ref", "bench-"+parent); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	var beside sync.WaitGroup
	defer beside.Wait()
	defer cancel()
	g := gate.New(s.redis, gate.Options{})
	beside.Go(func() { g.Follow(ctx) })
	var loadErr error
	beside.Go(func() { loadErr = s.steady(ctx, newLoad(31, subs(parents, each)), b.halfLoad()) })
	client, err := jobs.NewClient(s.redis, jobs.ClientOptions{})
	if err != nil {
		return nil, err
	}
	refusals := hdrhistogram.New(1, int64(time.Minute/time.Microsecond), 3)
	for i := range trials {
		took, err := refused(ctx, g, client, fmt.Sprintf("limited-%d", i))
		if err != nil {
			return nil, errors.Join(err, loadErr)
		}
		_ = refusals.RecordValue(took.Microseconds())
	}
	over := hdrhistogram.New(1, 1_000_000, 3)
	for i := range fast {
		n, err := overshoot(ctx, g, client, fmt.Sprintf("fast-%d", i))
		if err != nil {
			return nil, errors.Join(err, loadErr)
		}
		_ = over.RecordValue(int64(max(n-someMessages, 0)))
	}
	return map[string]float64{
		"refusal p50":   float64(refusals.ValueAtQuantile(50)) / 1000,
		"refusal p99":   float64(refusals.ValueAtQuantile(99)) / 1000,
		"overshoot p99": float64(over.ValueAtQuantile(99)),
	}, client.Close(ctx)
}

// halfLoad is records a second: half of what the client's figure was.
func (b *bench) halfLoad() int {
	if b.half > 0 {
		return b.half
	}
	return 30_000
}

// steady sends so many records a second until ctx ends.
func (s *system) steady(ctx context.Context, l *load, rate int) error {
	client, err := jobs.NewClient(s.redis, jobs.ClientOptions{})
	if err != nil {
		return err
	}
	const every = 5 * time.Millisecond
	tick := time.NewTicker(every)
	defer tick.Stop()
	began := time.Now()
	for n := 0; ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return client.Close(context.WithoutCancel(ctx))
		}
		for due := int(time.Since(began).Seconds() * float64(rate)); n < due; n++ {
			if err := client.Add(ctx, l.next()); err != nil && ctx.Err() == nil {
				return err
			}
		}
	}
}

// limitMax is how long a limit may take to bite before something is wrong.
const limitMax = 30 * time.Second

// refused is the time from sending the record that crosses the account's limit
// until the gate refuses the account.
func refused(ctx context.Context, g *gate.Gate, client *jobs.Client, account string) (time.Duration, error) {
	if a := g.Check(ctx, account, "sms"); !a.Allowed {
		return 0, fmt.Errorf("the gate says %s of %s, which has sent nothing", a.Code, account)
	}
	sent := make(chan error, 1)
	began := time.Now()
	go func() { sent <- client.Send(ctx, message("first", account)) }()
	for g.Check(ctx, account, "sms").Allowed {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		if time.Since(began) > limitMax {
			return 0, fmt.Errorf("%s isn't refused after %s", account, limitMax)
		}
		time.Sleep(50 * time.Microsecond)
	}
	return time.Since(began), <-sent
}

// overshoot sends fastRate records a second, each if the gate allows it, and
// returns how many were sent in all.
func overshoot(ctx context.Context, g *gate.Gate, client *jobs.Client, account string) (int, error) {
	began := time.Now()
	n := 0
	for tick := time.NewTicker(time.Millisecond); ; {
		for due := int(time.Since(began).Seconds() * fastRate); n < due; n++ {
			if !g.Check(ctx, account, "sms").Allowed {
				tick.Stop()
				return n, client.Flush(ctx)
			}
			if err := client.Add(ctx, metering.AppendRecord(nil, message(fmt.Sprint("m", n), account))); err != nil {
				return n, err
			}
		}
		if time.Since(began) > limitMax {
			return n, fmt.Errorf("%s isn't refused after %d records", account, n)
		}
		<-tick.C
	}
}
