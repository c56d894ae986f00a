package ledger

import (
	"context"
	"fmt"
	"maps"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/meterd/meterd/sql"
)

// ActivityQuery selects messages for a reader without sight of money.
type ActivityQuery struct {
	Parent string
	// Accounts narrows them down. Empty: the parent and all its subs.
	Accounts []string
	// Booked takes only rows that are in this period's bill. "": any.
	Booked string
	// From and To bound a message's occurred_at, [From, To). Zero: unbounded.
	From, To time.Time
	// Zone of the days and hours; not for messages.
	Zone *time.Location
	// Epoch and Seq leave out statuses that were charged later. Zero: none.
	Epoch, Seq int64
}

// params of the queries that take one.
func (q *ActivityQuery) params() map[string]string {
	from, to := millis(q.From, q.To)
	epoch := q.Epoch
	if epoch == 0 {
		epoch = math.MaxUint32
	}
	return map[string]string{
		"parent": q.Parent, "accounts": array(q.Accounts), "booked": q.Booked,
		"from": from, "to": to,
		"epoch": strconv.FormatInt(epoch, 10), "seq": strconv.FormatInt(q.Seq, 10),
		"slack": strconv.FormatInt(statusSlack.Milliseconds(), 10),
	}
}

// ActivityGroup counts the messages of one group. It holds nothing of money.
type ActivityGroup struct {
	Keys        []string // as they were asked for
	Messages    uint64
	CallSeconds int64 // as reported, of voice only
}

// ActivityLine counts the messages of one account, day, channel, direction and
// latest status. It holds nothing of money.
type ActivityLine struct {
	Account, Day, Channel, Direction string
	Status                           string // as reported, "" where none was
	Messages                         uint64
	CallSeconds                      int64 // as reported, of voice only
}

// Activity calls f for each line, sorted.
func (l *Ledger) Activity(ctx context.Context, q ActivityQuery, f func(*ActivityLine) error) error {
	by := []Dimension{DimAccount, DimDay, DimChannel, DimDirection, DimStatus}
	return l.ActivityBy(ctx, q, by, func(g *ActivityGroup) error {
		k := g.Keys
		return f(&ActivityLine{
			Account: k[0], Day: k[1], Channel: k[2], Direction: k[3], Status: k[4],
			Messages: g.Messages, CallSeconds: g.CallSeconds,
		})
	})
}

// ActivityBy calls f for each group, sorted by its keys. It groups by account,
// day, hour, channel, direction and status, one at least: the query selects no
// more than these are made of, so that no other dimension can be asked for.
func (l *Ledger) ActivityBy(ctx context.Context, q ActivityQuery, by []Dimension, f func(*ActivityGroup) error) error {
	if len(by) == 0 {
		return fmt.Errorf("activity: name what to group by")
	}
	if err := checkDimensions(by); err != nil {
		return err
	}
	g := groupBy(by, zoneName(q.Zone))
	params := q.params()
	maps.Copy(params, g.params)
	groups := strings.TrimSuffix(g.group, ", ")
	text := strings.NewReplacer("{columns}", g.columns, "{groups}", groups, "{keys}", g.keys).Replace(sql.Query("activity"))
	return l.eachText(ctx, "activity", text, params, func(r driver.Rows) error {
		var a ActivityGroup
		if err := r.Scan(&a.Keys, &a.Messages, &a.CallSeconds); err != nil {
			return err
		}
		if err := hourTexts(a.Keys, by); err != nil {
			return err
		}
		return f(&a)
	})
}
