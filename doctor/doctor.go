// Package doctor looks at a running system part by part and says what is broken
// and what to do about it. It changes nothing: what it writes to find out
// whether an engine can store is gone when it returns. What it doesn't decide is
// whether the money is right: that is reconcile's.
//
// It is a part of meterd, and no stable interface.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/ledger"
)

// Check is what was found of one part.
type Check struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	// Detail is what is there or, where it isn't OK, what is wrong and what to do.
	Detail string `json:"detail"`
}

// System is what is looked at.
type System struct {
	Redis  redis.UniversalClient
	Store  *balance.Store
	Ledger *ledger.Ledger
	// Folder is where an embedded system lives, whose disk and memory are this
	// machine's. Empty: the engines are elsewhere.
	Folder string
	// Names of the engines as they may be shown.
	RedisName, LedgerName string
}

// Bounds of one look: of an engine that hangs the rest is told in time.
const (
	engineMax = 10 * time.Second // of an overloaded one each answer takes long
	pingMax   = 3 * time.Second
)

// findings are the checks of one group, in order.
type findings []Check

// add notes what came of a part, and tells whether it is all right.
func (f *findings) add(name string, err error, detail string) bool {
	c := Check{Name: name, OK: err == nil, Detail: detail}
	if err != nil {
		if _, ok := errors.AsType[deliveriesError](err); !ok { // which is no engine's
			err = Reason(err)
		}
		c.Detail = strings.ReplaceAll(err.Error(), "\n", "; ")
		if errors.Is(err, ErrSilent) {
			c.Detail += ": see that its machine isn't overloaded and the network lets its answers through, then ask again"
		}
	}
	*f = append(*f, c)
	return err == nil
}

// All looks at every part once. Both engines are asked side by side, each for as
// long as engineMax.
func (s *System) All(ctx context.Context) []Check {
	var ofRedis, ofLedger, ofBoth findings
	s.sideBySide(ctx,
		func(ctx context.Context) {
			if s.redis(ctx, &ofRedis) {
				s.redisState(ctx, &ofRedis)
			}
		},
		func(ctx context.Context) {
			if s.ledger(ctx, &ofLedger) {
				s.ledgerState(ctx, &ofLedger)
			}
		})
	if ofRedis[0].OK {
		s.sideBySide(ctx, func(ctx context.Context) {
			if ofLedger[0].OK { // whose projection this is
				if id, err := s.Ledger.Identity(ctx); err == nil { // or its schema is older, which stands above
					s.Store.OfLedger(id)
				}
			}
			s.projection(ctx, &ofBoth)
			if ofLedger[0].OK {
				detail, err := s.accounts(ctx)
				ofBoth.add("accounts", err, detail)
			}
			ofBoth.add("hooks", s.hooks(ctx, ofLedger[0].OK), "none fails")
		})
	}
	if s.Folder != "" {
		machine(s.Folder, &ofBoth)
	}
	s.clocks(ctx, ofRedis[0].OK, ofLedger[0].OK, &ofBoth)
	return append(append(ofRedis, ofLedger...), ofBoth...)
}

// Engines looks only at what a worker can't do without: both answer and take what is
// written.
func (s *System) Engines(ctx context.Context) []Check {
	var ofRedis, ofLedger findings
	s.sideBySide(ctx, func(ctx context.Context) { s.redis(ctx, &ofRedis) }, func(ctx context.Context) { s.ledger(ctx, &ofLedger) })
	return append(ofRedis, ofLedger...)
}

// Ready is an error that names what of Engines isn't all right.
func (s *System) Ready(ctx context.Context) error {
	var errs []error
	for _, c := range s.Engines(ctx) {
		if !c.OK {
			errs = append(errs, fmt.Errorf("%s: %s", c.Name, c.Detail))
		}
	}
	return errors.Join(errs...)
}

func (s *System) sideBySide(ctx context.Context, looks ...func(ctx context.Context)) {
	ctx, cancel := context.WithTimeout(ctx, engineMax)
	defer cancel()
	var both sync.WaitGroup
	for _, look := range looks {
		both.Go(func() { look(ctx) })
	}
	both.Wait()
}
