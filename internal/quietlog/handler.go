package quietlog

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/meterd/meterd/internal/clock"
)

// Options of a Handler. Zero values take the defaults.
type Options struct {
	// Every is how often what was held back is summed up. Default 1 min.
	Every time.Duration
	// Lines is how many lines are written in any time of Every, at least 20: what is
	// more is counted in one line. Default 20.
	Lines int
	// Clock tells when Every is over. Default: the machine's.
	Clock clock.Clock
}

// Bounds of what is kept and written.
const (
	linesLeast = 20
	kindsMax   = 200 // what is more is counted together
	sumsMax    = 5   // kinds that are summed up each; what is more is counted together
	keptFor    = 3   // rounds without a line after which a kind is new again
	spareLines = 4   // for lines that name a cause or say that it is over
)

// Names of the attributes that mean something here.
const (
	causeKey = "cause"
	overKey  = "over"
)

// Cause makes all lines that name it one kind, whatever else they say: of everything
// that fails by one cause one line is enough.
func Cause(name string) slog.Attr { return slog.String(causeKey, name) }

// Over says that all causes are gone whose names begin so: should they come again they
// are written at once.
func Over(name string) slog.Attr { return slog.String(overKey, name) }

// Handler is a slog.Handler before another one. Those derived from it by attributes and
// groups hold back together with it.
type Handler struct {
	next slog.Handler
	of   *state
	key  string // of the attributes and groups that were given before
}

// New returns a Handler before next. Run sums up.
func New(next slog.Handler, o Options) *Handler {
	o.Every = cmp.Or(o.Every, time.Minute)
	o.Clock = cmp.Or(o.Clock, clock.System())
	// Rounds are at least Every long, so in any time of Every one is summed up. What that
	// writes takes no room from what is new.
	s := &state{next: next, every: o.Every, most: max(o.Lines, linesLeast) - sumsMax - 1, clock: o.Clock, kinds: map[string]*kind{}}
	s.ends = o.Clock.Now().Add(o.Every)
	return &Handler{next: next, of: s}
}

// Run sums up once in Every until ctx ends, then writes all that is held back.
func (h *Handler) Run(ctx context.Context) {
	tick := time.NewTicker(h.of.every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			_ = h.of.round(ctx) // there is nobody to tell
		case <-ctx.Done():
			_ = h.of.flush(context.WithoutCancel(ctx))
			return
		}
	}
}

// Enabled implements slog.Handler.
func (h *Handler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

// WithAttrs implements slog.Handler.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	var key strings.Builder
	key.WriteString(h.key)
	for _, a := range attrs {
		addAttr(&key, a)
	}
	return &Handler{next: h.next.WithAttrs(attrs), of: h.of, key: key.String()}
}

// WithGroup implements slog.Handler.
func (h *Handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	return &Handler{next: h.next.WithGroup(name), of: h.of, key: h.key + " " + name + "."}
}

// Handle implements slog.Handler.
func (h *Handler) Handle(ctx context.Context, r slog.Record) error {
	l := line{handler: h.next, record: r}
	l.key, l.cause, l.over = h.kindOf(&r)
	return h.of.take(ctx, &l)
}

// line is a record on its way.
type line struct {
	handler          slog.Handler
	record           slog.Record
	key, cause, over string
}

// plain lines name no cause; those that do are of few kinds.
func (l *line) plain() bool { return l.cause == "" && l.over == "" }

// kind is what is known of lines that are alike.
type kind struct {
	cause  string
	shown  bool // one was written since it is new
	count  int  // held back in this round, of which newest is one
	since  time.Time
	newest line
	idle   int // rounds without a line
}

// surplus are lines of kinds for which there is no room.
type surplus struct {
	lines, kinds int
	level        slog.Level // the highest
}

func (s *surplus) add(lines int, level slog.Level) {
	if s.lines == 0 || level > s.level {
		s.level = level
	}
	s.lines += lines
	s.kinds++
}

// state is shared by all handlers of one New.
type state struct {
	next  slog.Handler
	every time.Duration
	most  int // lines within every that don't sum up
	clock clock.Clock

	mu      sync.Mutex
	ends    time.Time   // of this round
	written []time.Time // when such lines were, the last ones
	kinds   map[string]*kind
	surplus surplus
}

// take writes a line or holds it back.
func (s *state) take(ctx context.Context, l *line) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.roundLocked(ctx)
	if l.over != "" {
		for _, k := range s.kinds {
			if k.cause != "" && strings.HasPrefix(k.cause, l.over) {
				k.shown = false
			}
		}
	}
	k := s.kinds[l.key]
	if k == nil {
		if len(s.kinds) >= kindsMax && l.plain() {
			s.surplus.add(1, l.record.Level)
			return err
		}
		k = &kind{cause: l.cause}
		s.kinds[l.key] = k
	}
	k.idle = 0
	now := s.clock.Now()
	if (!k.shown || l.over != "") && s.roomLocked(now, l) {
		k.shown = true
		s.written = append(s.written, now)
		return errors.Join(err, l.handler.Handle(ctx, l.record))
	}
	if k.count == 0 {
		k.since = now
	}
	k.count++
	k.newest = *l
	k.newest.record = l.record.Clone()
	return err
}

// roomLocked tells whether a line may be written now.
func (s *state) roomLocked(now time.Time, l *line) bool {
	s.written = slices.DeleteFunc(s.written, func(at time.Time) bool { return now.Sub(at) >= s.every || at.After(now) })
	room := s.most - len(s.written)
	if l.plain() {
		room -= spareLines
	}
	return room > 0
}

// round ends the present one if its time is over.
func (s *state) round(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.roundLocked(ctx)
}

func (s *state) roundLocked(ctx context.Context) error {
	now := s.clock.Now()
	if now.Before(s.ends) {
		return nil
	}
	s.ends = now.Add(s.every)
	return s.sumUp(ctx)
}

// flush writes what is held back though the round isn't over.
func (s *state) flush(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sumUp(ctx)
}

// sumUp writes one line for each of the kinds that matter most, and one that counts
// what the others have held back.
func (s *state) sumUp(ctx context.Context) error {
	var held []*kind
	for key, k := range s.kinds {
		if k.count > 0 {
			held = append(held, k)
		} else if k.idle++; k.idle >= keptFor {
			delete(s.kinds, key)
		}
	}
	slices.SortFunc(held, moreTelling)
	var errs []error
	for i, k := range held {
		if i < sumsMax {
			errs = append(errs, k.write(ctx))
			k.shown = true
		} else {
			s.surplus.add(k.count, k.newest.record.Level)
		}
		k.count, k.newest = 0, line{}
	}
	if s.surplus.lines > 0 {
		r := slog.NewRecord(s.clock.Now(), s.surplus.level, "more lines were held back: `--log-level debug` shows all", 0)
		r.AddAttrs(slog.Int("lines", s.surplus.lines), slog.Int("kinds", s.surplus.kinds))
		errs = append(errs, s.next.Handle(ctx, r))
		s.surplus = surplus{}
	}
	return errors.Join(errs...)
}

// moreTelling orders kinds by what a reader needs first: what nobody has read yet, what
// is bad, what came often.
func moreTelling(a, b *kind) int {
	if a.shown != b.shown {
		if b.shown {
			return -1
		}
		return 1
	}
	return cmp.Or(cmp.Compare(b.newest.record.Level, a.newest.record.Level), cmp.Compare(b.count, a.count), a.since.Compare(b.since))
}

// write the newest of what was held back, with how many more there were.
func (k *kind) write(ctx context.Context) error {
	r := k.newest.record
	if k.count > 1 {
		r.AddAttrs(slog.Int("again", k.count-1), slog.Time("since", k.since))
	}
	return k.newest.handler.Handle(ctx, r)
}
