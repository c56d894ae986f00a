package suspend

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/meterd/meterd/internal/notify"
	"github.com/meterd/meterd/metering"
)

// Who can't be told something just now stands in Redis, for the doctor: the ledger
// keeps only the first try that failed and the one that went through, so it can't say
// whether anybody still tries.
const (
	failingAt   = "meterd:{failing}:at"
	failingWhat = "meterd:{failing}:what"
)

// What fails is tried every 30 s and may take 15 s to fail: who wasn't tried for
// failingMax is told nothing any more, be it that its hook was removed. After
// failingKept it is forgotten.
const (
	failingMax  = 2 * time.Minute
	failingKept = time.Hour
)

// failingFrom is how often in a row something wasn't taken before its receiver counts
// as failing: what the next try brings, a second later, needs nobody.
const failingFrom = 2

//go:embed failing.lua
var failingSource string

// Failing is a receiver that couldn't be told something when it was last tried.
type Failing struct {
	Parent string `json:"parent,omitempty"` // whose hook or mail it is; "": the operator's
	Host   string `json:"host"`             // of the hook; "mail"
	Why    string `json:"why"`              // as logs have it
	Tries  int    `json:"tries"`            // of the same message
	// Hook is the digest of its address and events, so that one that was removed is
	// known; "": it is no hook.
	Hook string `json:"hook,omitempty"`
}

// Gone tells whether the accounts don't name the receiver any more.
func (f *Failing) Gone(snap *metering.Snapshot) bool {
	if f.Parent == "" || f.Hook == "" {
		return false
	}
	p := snap.Accounts[f.Parent]
	return p == nil || !slices.ContainsFunc(p.Hooks, func(h metering.Hook) bool { return hookDigest(&h) == f.Hook })
}

// hookDigest tells a hook from others without its address, which may be a secret.
func hookDigest(hook *metering.Hook) string { return digest(hookKey(hook)) }

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}

// FailingNow are those, of the last two minutes, the one that was tried last first; at
// most so many.
func FailingNow(ctx context.Context, rdb redis.UniversalClient, most int64) ([]Failing, error) {
	now, err := rdb.Time(ctx).Result()
	if err != nil {
		return nil, fmt.Errorf("ask which receivers fail: %w", err)
	}
	from := strconv.FormatInt(now.Add(-failingMax).UnixMilli(), 10)
	who, err := rdb.ZRevRangeByScore(ctx, failingAt, &redis.ZRangeBy{Min: from, Max: "+inf", Count: most}).Result()
	if err != nil || len(who) == 0 {
		return nil, wrapFailing(err)
	}
	what, err := rdb.HMGet(ctx, failingWhat, who...).Result()
	if err != nil {
		return nil, wrapFailing(err)
	}
	out := make([]Failing, 0, len(what))
	for _, v := range what {
		text, _ := v.(string) // it may be well again since
		var f Failing
		if json.Unmarshal([]byte(text), &f) == nil {
			out = append(out, f)
		}
	}
	return out, nil
}

func wrapFailing(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("ask which receivers fail: %w", err)
}

// mark notes what a try says of its receiver. cause: why it failed and comes again; nil:
// it doesn't.
func (h *Hooks) mark(ctx context.Context, n *notice, tries int, cause error) error {
	doc := ""
	if cause != nil {
		if tries < failingFrom {
			return nil
		}
		b, err := json.Marshal(Failing{Parent: n.whose, Host: n.host, Why: cause.Error(), Tries: tries, Hook: n.hook})
		if err != nil {
			return fmt.Errorf("note who fails: %w", err)
		}
		doc = string(b)
	}
	err := redis.NewScript(failingSource).Run(ctx, h.Store.Redis(), []string{failingAt, failingWhat},
		n.whose+" "+n.receiver, doc, failingKept.Milliseconds()).Err()
	if err != nil {
		return fmt.Errorf("note who fails: %w", err)
	}
	return nil
}

// of says whose hook a notice goes to.
func (h *Hooks) of(n *notice, hook *metering.Hook) {
	n.host, n.hook = notify.Host(hook.URL), hookDigest(hook)
	n.receiver, n.whose = n.hook, n.account.Parent()
	if slices.ContainsFunc(h.operator, func(o metering.Hook) bool { return hookDigest(&o) == n.hook }) {
		n.whose = ""
	}
}
