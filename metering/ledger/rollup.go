package ledger

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/meterd/meterd/metering"
)

// Rollups (docs/protocol.md, Closing and rollups): an hour of UTC of an
// account is rolled as a whole once it is over and quiet. It counts as settled
// as long as no mark has come since its roll began; usage then reads its
// rollup instead of its rows. A roll that is lost, late or done twice does no
// harm: what is due stands beside the rows.

// Bounds of rolling.
const (
	// DueMax is how many hours of accounts DueHours gives at once: which are due is
	// told by all that are marked.
	DueMax = 20_000
	// rollMax is how many are rolled by one statement: about 100 KB of parameters,
	// and one pass over the rows of their months.
	rollMax = 2000
	// rollQuiet is how long an hour must have had no mark, and be over. It keeps
	// the upkeep low: an hour that receives rows is read from them anyway.
	rollQuiet = 30 * time.Second
	// rollSlack is how far the clocks of two nodes of ClickHouse may be apart: a
	// mark that came up to this long before a roll began is taken to have come
	// after it.
	rollSlack = 10 * time.Second
	// markDelay is how long a mark may be on its way into the ledger: an
	// insert's bound, twice over.
	markDelay = 2 * metering.InsertMax
)

// AccountHour is one hour of UTC of an account.
type AccountHour struct {
	AccountID string
	Hour      time.Time
}

// DueHours are up to DueMax hours whose rollup is due at now, by account, of
// those marked since the instant (zero: of all). An account's rows of a month
// are read once then, however many of its hours are due.
func (l *Ledger) DueHours(ctx context.Context, since, now time.Time) ([]AccountHour, error) {
	params := map[string]string{
		"since": "0", "before": ms(now.Add(-rollQuiet)), "slack": strconv.FormatInt(rollSlack.Milliseconds(), 10),
		"limit": strconv.Itoa(DueMax),
	}
	if !since.IsZero() {
		params["since"] = ms(since)
	}
	var out []AccountHour
	err := l.each(ctx, "rollup_due", params, func(r driver.Rows) error {
		var h AccountHour
		err := r.Scan(&h.AccountID, &h.Hour)
		out = append(out, h)
		return err
	})
	return out, err
}

// hourSpan is how long before its end an hour of UTC may be marked: by a local
// hour that begins within the one before, of a record that is a little ahead.
const hourSpan = 2*time.Hour + 10*time.Minute

// MarkedBefore is the instant before which no mark is unseen by a DueHours
// that was asked at now and left nothing due.
func MarkedBefore(now time.Time) time.Time { return now.Add(-rollQuiet - markDelay - hourSpan) }

// RollHours rolls hours anew. began is the present time: marks from then on make
// them due again.
func (l *Ledger) RollHours(ctx context.Context, list []AccountHour, began time.Time) error {
	for some := range slices.Chunk(list, rollMax) {
		if err := l.rollHours(ctx, some, began); err != nil {
			return err
		}
	}
	return nil
}

func (l *Ledger) rollHours(ctx context.Context, list []AccountHour, began time.Time) error {
	accounts, hours := make([]string, len(list)), make([]string, len(list))
	from, to := list[0].Hour, list[0].Hour
	for i, h := range list {
		accounts[i], hours[i] = h.AccountID, strconv.FormatInt(h.Hour.Unix(), 10)
		if h.Hour.Before(from) {
			from = h.Hour
		}
		if h.Hour.After(to) {
			to = h.Hour
		}
	}
	params := map[string]string{
		"accounts": array(accounts), "hours": "[" + strings.Join(hours, ",") + "]",
		"from": ms(from), "to": ms(to.Add(time.Hour)), "generation": strconv.FormatInt(began.UnixMicro(), 10),
	}
	if err := l.exec(ctx, "rollup_build", params); err != nil {
		return fmt.Errorf("roll %d hours: %w", len(list), err)
	}
	return nil
}
