package balance

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/testengine"
	"github.com/meterd/meterd/metering"
)

// BenchmarkCharge charges tasks of one size on 20 parents with 50 sub-accounts
// each; it says what Redis takes for a record.
func BenchmarkCharge(b *testing.B) {
	for _, records := range []int{1, 300, 8000} {
		b.Run(fmt.Sprintf("records=%d", records), func(b *testing.B) { benchCharge(b, records) })
	}
}

func benchCharge(b *testing.B, records int) {
	b.Helper()
	rdb := testengine.StartRedis(b).Redis(b)
	require.NoError(b, rdb.ConfigSet(b.Context(), "appendfsync", "no").Err())
	p := freshWith(b.Context(), b, rdb, 4096)
	calendar, err := metering.NewCalendar([]metering.ZoneFrom{{Zone: "UTC"}})
	require.NoError(b, err)
	months, byParent := MonthsAround(calendar, p.start), map[string]Months{}
	var accounts []*metering.Account
	for i := range 20 {
		parent := fmt.Sprintf("parent-%d", i)
		byParent[parent] = months
		accounts = append(accounts, &metering.Account{ID: parent, Mode: metering.Postpaid, Source: metering.SourceCredit, Calendar: calendar, Alerts: []int{50, 80, 100}, Catalog: 1})
		for s := range 50 {
			accounts = append(accounts, &metering.Account{ID: fmt.Sprintf("%s-sub-%d", parent, s), ParentID: parent, Mode: metering.Postpaid, Source: metering.SourceCredit, Calendar: calendar, Catalog: 1})
		}
	}
	require.NoError(b, p.Push(b.Context(), 0, p.meta, 1, accounts, p.start))
	rnd := rand.New(rand.NewPCG(1, 2))
	task := 0
	call := func() *Call {
		var id [16]byte
		items := make([]Item, records)
		for i := range items {
			binary.LittleEndian.PutUint64(id[:], rnd.Uint64())
			binary.LittleEndian.PutUint64(id[8:], rnd.Uint64())
			a := accounts[rnd.IntN(len(accounts))]
			items[i] = p.item(string(id[:]), a.ID, 41_200, false)
			items[i].Line, items[i].Parent, items[i].Period = i, a.Parent(), months[1].Name
		}
		task++
		return NewCall(strconv.Itoa(task), records, items, byParent, p.meta)
	}
	charge := func(c *Call) {
		_, err := p.Charge(b.Context(), 0, 1, c)
		require.NoError(b, err)
	}
	for range 20_000/records + 1 { // so that states are judged once and sets exist
		charge(call())
	}
	before, n := used(b, rdb), 0
	for b.Loop() {
		charge(call())
		n += records
	}
	b.ReportMetric(float64((used(b, rdb)-before).Nanoseconds())/float64(n), "redis-ns/record")
}

// used is the processor time that Redis has taken.
func used(b *testing.B, rdb *redis.Client) time.Duration {
	b.Helper()
	text, err := rdb.Info(b.Context(), "cpu").Result()
	require.NoError(b, err)
	var sum time.Duration
	for line := range strings.SplitSeq(text, "\r\n") {
		name, v, _ := strings.Cut(line, ":")
		if name == "used_cpu_sys_main_thread" || name == "used_cpu_user_main_thread" {
			d, err := time.ParseDuration(v + "s")
			require.NoError(b, err)
			sum += d
		}
	}
	return sum
}
