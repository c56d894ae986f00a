package worker

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/meterd/meterd/internal/clock"
	"github.com/meterd/meterd/internal/notify"
	"github.com/meterd/meterd/metering"
)

// lacksMax bounds how many secrets a worker names; lacksEvery is how often it looks
// at all that its accounts name, unless they changed.
const (
	lacksMax   = 20
	lacksEvery = time.Minute
)

// lacking is what a worker found when it last looked.
type lacking struct {
	snap *metering.Snapshot
	at   time.Time
	list []string
}

// lacks names the secrets that this worker's roles need and that it can't sign
// with, and whose they are.
func (w *Worker) lacks() []string {
	now := clock.System().Now()
	snap := w.deps.Snapshots.Current()
	if snap == nil || snap == w.lacking.snap && now.Sub(w.lacking.at) < lacksEvery {
		return w.lacking.list
	}
	var list []string
	known := map[notify.Secret]bool{}
	look := func(whose string, secret notify.Secret) {
		if secret == (notify.Secret{}) || known[secret] || len(list) >= lacksMax {
			return
		}
		known[secret] = true
		if err := secret.CheckHook(); err != nil {
			list = append(list, fmt.Sprintf("%s: %v", whose, err))
		}
	}
	if w.has(RoleSuspensions) {
		for _, h := range w.opts.Hooks {
			look("the operator's hook", notify.Secret{Env: h.SecretEnv})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(snap.Accounts)) {
		account := snap.Accounts[id]
		if account.ClosedAt != nil {
			continue
		}
		if w.has(RoleSuspensions) {
			for _, h := range account.Hooks {
				look("hook of "+id, notify.Secret{Env: h.SecretEnv})
			}
		}
		if w.has(RoleReports) {
			for _, s := range account.Reports {
				for _, to := range slices.Sorted(maps.Keys(s.Secrets)) {
					look("reports of "+id, notify.Secret{Env: s.Secrets[to].Env, File: s.Secrets[to].File})
				}
			}
		}
	}
	w.lacking = lacking{snap: snap, at: now, list: list}
	return list
}
