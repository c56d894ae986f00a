package worker

import (
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Roles that a worker may have.
const (
	RoleIngest      = "ingest"
	RoleSuspensions = "suspensions"
	RoleReports     = "reports"
	RoleScheduler   = "scheduler"
)

// Roles are all of them, in the order of a record's path.
func Roles() []string { return []string{RoleIngest, RoleSuspensions, RoleReports, RoleScheduler} }

// A worker says every beatEvery that it lives. After beatMax without a word it
// doesn't, or doesn't reach Redis; after beatKept nobody asks for it any more.
const (
	beatEvery = 5 * time.Second
	beatMax   = 20 * time.Second
	beatKept  = time.Hour
)

// workersKey is the hash of the workers' beats.
const workersKey = "meterd:workers"

//go:embed beat.lua
var beatSource string

// Beat is what a worker last said of itself.
type Beat struct {
	Worker string   `json:"-"`
	Roles  []string `json:"roles"`
	Host   string   `json:"host"`
	PID    int      `json:"pid"`
	// Lacks are secrets that it needs and hasn't, as far as the first lacksMax; it
	// never holds one.
	Lacks []string `json:"lacks,omitempty"`
	// Silent is how long ago that was, by Redis's clock.
	Silent time.Duration `json:"-"`
}

// Lives tells whether a worker that last said so still does.
func (b *Beat) Lives() bool { return b.Silent < beatMax }

// Name is where it runs.
func (b *Beat) Name() string { return fmt.Sprintf("%s, process %d", b.Host, b.PID) }

// Beats are the workers of a Redis that were heard of within the last hour, by
// host and process.
func Beats(ctx context.Context, rdb redis.UniversalClient) ([]Beat, error) {
	now, err := rdb.Time(ctx).Result()
	if err != nil {
		return nil, fmt.Errorf("ask which workers live: %w", err)
	}
	all, err := rdb.HGetAll(ctx, workersKey).Result()
	if err != nil {
		return nil, fmt.Errorf("ask which workers live: %w", err)
	}
	out := make([]Beat, 0, len(all))
	for worker, text := range all {
		at, doc, _ := strings.Cut(text, " ")
		millis, err := strconv.ParseInt(at, 10, 64)
		b := Beat{Worker: worker, Silent: now.Sub(time.UnixMilli(millis))}
		if err != nil || json.Unmarshal([]byte(doc), &b) != nil {
			continue // of another version: it says so by being missing
		}
		out = append(out, b)
	}
	slices.SortFunc(out, func(a, b Beat) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.PID, b.PID), cmp.Compare(a.Worker, b.Worker))
	})
	return out, nil
}

// beat says that this worker lives.
func (w *Worker) beat(ctx context.Context) error {
	host, err := os.Hostname()
	if err != nil {
		host = "?"
	}
	roles := w.opts.Roles
	if len(roles) == 0 {
		roles = Roles()
	}
	doc, err := json.Marshal(Beat{Roles: roles, Host: host, PID: os.Getpid(), Lacks: w.lacks()})
	if err != nil {
		return fmt.Errorf("say that the worker lives: %w", err)
	}
	if err := redis.NewScript(beatSource).Run(ctx, w.deps.Redis, []string{workersKey}, w.name, doc, beatKept.Milliseconds()).Err(); err != nil {
		return fmt.Errorf("say that the worker lives: %w", err)
	}
	return nil
}

// leaveMax bounds a worker's last word.
const leaveMax = time.Second

// leave says that this worker stops.
func (w *Worker) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveMax)
	defer cancel()
	_ = w.deps.Redis.HDel(ctx, workersKey, w.name).Err() // else it is silent soon
}
