package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/meterd/meterd/internal/notify"
	"github.com/meterd/meterd/metering"
)

// secretUse is a webhook's secret and who is told with it.
type secretUse struct {
	whose  string // an account, or the operator
	secret notify.Secret
}

// secretsMax bounds the reading of all accounts.
const secretsMax = 30 * time.Second

// checkSecrets names webhooks' secrets that can't sign, and how many were looked
// at. Those that aren't set where doctor runs are left to the workers.
func checkSecrets(a *app, e *engines) (detail string, err error) {
	ctx, cancel := context.WithTimeout(a.ctx, secretsMax)
	defer cancel()
	snap, err := e.ledger.Snapshot(ctx)
	if err != nil {
		return "", err
	}
	var bad []error
	here, away := 0, 0
	for _, use := range secretUses(a, snap) {
		if _, err := use.secret.Read(); err != nil {
			away++
			continue
		}
		here++
		if err := use.secret.CheckHook(); err != nil {
			bad = append(bad, fmt.Errorf("%s: %w", use.whose, err))
		}
	}
	return fmt.Sprintf("%d checked, %d not set here: workers need them", here, away), errors.Join(bad...)
}

// secretUses are those of hooks and scheduled reports, each once.
func secretUses(a *app, snap *metering.Snapshot) (out []secretUse) {
	known := map[secretUse]bool{}
	add := func(whose string, secret notify.Secret) {
		use := secretUse{whose: whose, secret: secret}
		if secret != (notify.Secret{}) && !known[use] {
			known[use] = true
			out = append(out, use)
		}
	}
	if a.file != nil {
		for _, h := range a.file.Hooks {
			add("the operator's hook", notify.Secret{Env: h.SecretEnv})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(snap.Accounts)) {
		account := snap.Accounts[id]
		for _, h := range account.Hooks {
			add("hook of "+id, notify.Secret{Env: h.SecretEnv})
		}
		for _, s := range account.Reports {
			for _, to := range slices.Sorted(maps.Keys(s.Secrets)) {
				add("reports of "+id, notify.Secret{Env: s.Secrets[to].Env, File: s.Secrets[to].File})
			}
		}
	}
	return out
}
