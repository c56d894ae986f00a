package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/meterd/meterd/metering"
)

// Entry is what couldn't be charged, with the bytes that came.
type Entry struct {
	ID            string
	Reason        metering.Reason
	AccountID     string // as far as it could be read
	Kind          metering.Kind
	RecordID      string // id of the identity
	ContentHash   uint64
	Detail        string
	Raw           []byte
	QuarantinedAt time.Time
	State         string
	Note          string
	Version       uint64
	// Again: it comes of a replay. Refused again, it keeps the time from which on it
	// has been in quarantine.
	Again bool
}

// States of a quarantine entry.
const (
	QuarantineOpen      = "open"
	QuarantineReplayed  = "replayed"
	QuarantineResolved  = "resolved"
	QuarantineDiscarded = "discarded"
)

// EntryID makes the same bytes one entry: a hash of account, kind and raw bytes.
func EntryID(account string, kind metering.Kind, raw []byte) string {
	h := sha256.New()
	_, _ = h.Write([]byte(account + "\x00" + string(kind) + "\x00"))
	_, _ = h.Write(raw)
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// OpenQuarantine stores entries that were refused, by ClickHouse's time: an entry
// that is refused again is newer than its replay, whose version follows the one
// that was read, whatever the clocks of the workers say.
func (l *Ledger) OpenQuarantine(ctx context.Context, entries []Entry) error {
	if len(entries) == 0 {
		return nil
	}
	now, err := l.Now(ctx)
	if err != nil {
		return err
	}
	return l.openQuarantine(ctx, entries, now)
}

func (l *Ledger) openQuarantine(ctx context.Context, entries []Entry, now time.Time) error {
	for i := range entries {
		entries[i].Version = uint64(now.UnixMicro())
	}
	if err := l.keepSince(ctx, entries); err != nil {
		return err
	}
	return l.InsertQuarantine(ctx, entries)
}

// keepSince gives entries that come back from a replay their first time.
func (l *Ledger) keepSince(ctx context.Context, entries []Entry) error {
	var ids []string
	for i := range entries {
		if entries[i].Again {
			ids = append(ids, entries[i].ID)
		}
	}
	since := make(map[string]time.Time, len(ids))
	for page := range slices.Chunk(ids, lookupMax) {
		if err := l.each(ctx, "quarantine_since", map[string]string{"ids": array(page)}, func(r driver.Rows) error {
			var id string
			var at time.Time
			err := r.Scan(&id, &at)
			since[id] = at
			return err
		}); err != nil {
			return err
		}
	}
	for i := range entries {
		if at, ok := since[entries[i].ID]; ok && entries[i].Again {
			entries[i].QuarantinedAt = at
		}
	}
	return nil
}

// quarantineBytes bounds the raw lines of one insert, which are held several times
// while they are on their way.
const quarantineBytes = 16 << 20

// InsertQuarantine stores entries; the newest version of an id stands.
func (l *Ledger) InsertQuarantine(ctx context.Context, entries []Entry) error {
	for len(entries) > 0 {
		n, bytes := 1, len(entries[0].Raw)
		for n < len(entries) && bytes+len(entries[n].Raw) <= quarantineBytes {
			bytes += len(entries[n].Raw)
			n++
		}
		if err := quarantineTable().insert(ctx, l, entries[:n]); err != nil {
			return err
		}
		entries = entries[n:]
	}
	return nil
}

func quarantineTable() *table[Entry] {
	return &table[Entry]{"quarantine", []column[Entry]{
		col("id", func(e *Entry) string { return e.ID }),
		col("reason", func(e *Entry) string { return string(e.Reason) }),
		col("account_id", func(e *Entry) string { return e.AccountID }),
		col("kind", func(e *Entry) string { return string(e.Kind) }),
		col("record_id", func(e *Entry) string { return e.RecordID }),
		col("content_hash", func(e *Entry) uint64 { return e.ContentHash }),
		col("detail", func(e *Entry) string { return e.Detail }),
		col("raw", func(e *Entry) string { return string(e.Raw) }),
		col("quarantined_at", func(e *Entry) time.Time { return e.QuarantinedAt }),
		col("state", func(e *Entry) string { return e.State }),
		col("note", func(e *Entry) string { return e.Note }),
		col("version", func(e *Entry) uint64 { return e.Version }),
	}}
}

// QuarantineFilter selects entries; empty fields select all.
type QuarantineFilter struct {
	State    string
	Reason   string
	ID       string
	Accounts []string
	RecordID string
	// Redacted leaves out refunds and corrections: they are money, of which a
	// reader who sees none isn't told, and a refund's entry has its message's id.
	Redacted bool
	Limit    int
}

// Quarantined calls f for each entry, oldest first.
func (l *Ledger) Quarantined(ctx context.Context, q QuarantineFilter, f func(*Entry) error) error {
	limit := uint64(1) << 62
	if q.Limit > 0 {
		limit = uint64(q.Limit)
	}
	params := map[string]string{
		"state": q.State, "reason": q.Reason, "id": q.ID, "accounts": array(q.Accounts), "record": q.RecordID,
		"redacted": "0", "limit": strconv.FormatUint(limit, 10),
	}
	if q.Redacted {
		params["redacted"] = "1"
	}
	return l.each(ctx, "quarantine_open", params, func(r driver.Rows) error {
		var e Entry
		var reason, kind, raw string
		if err := r.Scan(&e.ID, &reason, &e.AccountID, &kind, &e.RecordID, &e.ContentHash, &e.Detail, &raw,
			&e.QuarantinedAt, &e.State, &e.Note, &e.Version); err != nil {
			return err
		}
		e.Reason, e.Kind, e.Raw = metering.Reason(reason), metering.Kind(kind), []byte(raw)
		return f(&e)
	})
}

// ReasonCount is how many entries have a reason.
type ReasonCount struct {
	Reason         metering.Reason
	Entries        uint64
	Oldest, Newest time.Time
}

// QuarantineReasons counts the entries of a state by reason, the most first, of
// some accounts; none: of all.
func (l *Ledger) QuarantineReasons(ctx context.Context, state string, accounts []string) (out []ReasonCount, err error) {
	err = l.each(ctx, "quarantine_reasons", map[string]string{"state": state, "accounts": array(accounts)}, func(r driver.Rows) error {
		var c ReasonCount
		var reason string
		err := r.Scan(&reason, &c.Entries, &c.Oldest, &c.Newest)
		c.Reason = metering.Reason(reason)
		out = append(out, c)
		return err
	})
	return out, err
}

// EntriesKnown tells which of some entries there are, in any state.
func (l *Ledger) EntriesKnown(ctx context.Context, ids []string) (map[string]bool, error) {
	known := make(map[string]bool, len(ids))
	for page := range slices.Chunk(ids, lookupMax) {
		if err := l.each(ctx, "entries_known", map[string]string{"ids": array(page)}, func(r driver.Rows) error {
			var id string
			err := r.Scan(&id)
			known[id] = true
			return err
		}); err != nil {
			return nil, err
		}
	}
	return known, nil
}

// resolvePage is how many entries are looked at in one go: what is asked each
// time doesn't grow with all that is in quarantine.
const resolvePage = 10_000

// ResolveQuarantine closes open entries whose identity and content stand in
// the ledger by now, and returns how many. It looks at a page of entries, from
// after an id on ("": from the beginning), and tells after which the next one
// begins.
func (l *Ledger) ResolveQuarantine(ctx context.Context, after string, now time.Time) (next string, n int, err error) {
	var last string
	var rows uint64
	params := map[string]string{"after": after, "limit": strconv.Itoa(resolvePage)}
	if err := l.each(ctx, "quarantine_page", params, func(r driver.Rows) error { return r.Scan(&last, &rows) }); err != nil || rows == 0 {
		return "", 0, err
	}
	ids, err := l.resolved(ctx, after, last)
	if err != nil {
		return after, 0, err
	}
	var entries []Entry
	for _, id := range ids {
		if err := l.Quarantined(ctx, QuarantineFilter{ID: id, State: QuarantineOpen}, func(e *Entry) error {
			entries = append(entries, *e)
			return nil
		}); err != nil {
			return after, 0, err
		}
	}
	if err := l.CloseQuarantine(ctx, entries, QuarantineResolved, "the same record stands in the ledger", now); err != nil {
		return after, 0, err
	}
	if rows < resolvePage {
		last = ""
	}
	return last, len(entries), nil
}

// resolved are the open entries of a page that stand in the ledger.
func (l *Ledger) resolved(ctx context.Context, after, last string) (ids []string, err error) {
	err = l.each(ctx, "quarantine_resolved", map[string]string{"after": after, "last": last}, func(r driver.Rows) error {
		var id string
		err := r.Scan(&id)
		ids = append(ids, id)
		return err
	})
	return ids, err
}

// CloseQuarantine puts entries into another state.
func (l *Ledger) CloseQuarantine(ctx context.Context, entries []Entry, state, note string, now time.Time) error {
	for i := range entries {
		entries[i].State, entries[i].Note = state, note
		entries[i].Version = max(entries[i].Version+1, uint64(now.UnixMicro()))
	}
	if err := l.InsertQuarantine(ctx, entries); err != nil {
		return fmt.Errorf("mark entries %s: %w", state, err)
	}
	return nil
}

// Waiting is a refund whose message hasn't come. ID tells those of one message
// apart: refunds of other content wait each for itself, for none may take
// another's place before the message tells which stands.
type Waiting struct {
	AccountID string
	RefersTo  string
	ID        string
	Raw       []byte
	Run       string
	Since     time.Time
	Done      bool
	Version   uint64
}

// InsertWaiting stores them; the newest version stands. What waits can be brought
// back before anybody counts it, and is until what is done stands.
func (l *Ledger) InsertWaiting(ctx context.Context, list []Waiting) error {
	var begun, done []Waiting
	for i := range list {
		if list[i].Done {
			done = append(done, list[i])
		} else {
			begun = append(begun, list[i])
		}
	}
	if err := signedWaitsTable(1).insert(ctx, l, begun); err != nil {
		return err
	}
	if err := waitsTable().insert(ctx, l, list); err != nil {
		return err
	}
	return signedWaitsTable(-1).insert(ctx, l, done)
}

// waitsTable has reports know how many refunds wait, and waited.
func waitsTable() *table[Waiting] {
	return &table[Waiting]{"waiting", append(waitsColumns(),
		col("state", func(w *Waiting) string {
			if w.Done {
				return "done"
			}
			return "waiting"
		}),
		col("version", func(w *Waiting) uint64 { return w.Version }),
		col("noted", func(*Waiting) uint8 { return 1 }),
	)}
}

// signedWaitsTable adds to what waits (1), or takes from it (-1).
func signedWaitsTable(sign int8) *table[Waiting] {
	return &table[Waiting]{"refund_waits", append(waitsColumns(), col("sign", func(*Waiting) int8 { return sign }))}
}

func waitsColumns() []column[Waiting] {
	return []column[Waiting]{
		col("account_id", func(w *Waiting) string { return w.AccountID }),
		col("refers_to", func(w *Waiting) string { return w.RefersTo }),
		col("id", func(w *Waiting) string { return w.ID }),
		col("raw", func(w *Waiting) string { return string(w.Raw) }),
		col("run", func(w *Waiting) string { return w.Run }),
		col("since", func(w *Waiting) time.Time { return w.Since }),
	}
}

// WaitingRefunds calls f for each refund whose message has come, and for those
// that have waited since before the instant.
func (l *Ledger) WaitingRefunds(ctx context.Context, before time.Time, f func(w *Waiting, come bool) error) error {
	params := map[string]string{"before": strconv.FormatInt(before.UnixMilli(), 10)}
	return l.each(ctx, "waiting_due", params, func(r driver.Rows) error {
		var w Waiting
		var raw string
		var come uint8
		if err := r.Scan(&w.AccountID, &w.RefersTo, &w.ID, &raw, &w.Run, &w.Since, &come); err != nil {
			return err
		}
		w.Raw = []byte(raw)
		return f(&w, come == 1)
	})
}
