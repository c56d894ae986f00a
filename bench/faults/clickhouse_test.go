package main_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestClickHouseAway: connections are refused for a while, twice.
func TestClickHouseAway(t *testing.T) {
	t.Parallel()
	r := begun(t, 10, "ClickHouse away for "+pick("8 s", "2 min"))
	r.worker(r.proxied(), nil)
	sent := r.send(r.lines(pick(400, 6000)), 50*time.Millisecond)
	for range pick(1, 2) {
		r.result.Tried++
		r.back.cut()
		<-time.After(pick(8*time.Second, 2*time.Minute))
		r.back.mend()
		r.ended()
	}
	sent.wait()
	r.settle()
}

// TestClickHouseSlow: every answer takes a while, and comes in drops.
func TestClickHouseSlow(t *testing.T) {
	t.Parallel()
	r := begun(t, 11, "ClickHouse slow: 1.5 s an answer, 20 KB/s")
	r.worker(r.proxied(), nil)
	r.result.Tried = 1
	r.back.toxic("latency", "downstream", `{"latency":1500,"jitter":500}`)
	r.back.toxic("bandwidth", "upstream", `{"rate":20}`)
	sent := r.send(r.lines(pick(300, 4000)), 50*time.Millisecond)
	<-time.After(pick(8*time.Second, time.Minute))
	r.back.clean()
	r.ended()
	sent.wait()
	r.settle()
}

// TestClickHouseSilent: connections stand, and nothing comes through them.
func TestClickHouseSilent(t *testing.T) {
	t.Parallel()
	r := begun(t, 12, "ClickHouse silent: connections stand, no byte passes, for "+pick("7 s", "1 min"))
	r.worker(r.proxied(), nil)
	sent := r.send(r.lines(pick(300, 4000)), 50*time.Millisecond)
	r.result.Tried = 1
	r.back.toxic("timeout", "downstream", `{"timeout":0}`)
	<-time.After(pick(7*time.Second, time.Minute))
	r.back.cut() // such a network ends in a reset
	r.back.clean()
	r.back.mend()
	r.ended()
	sent.wait()
	r.settle()
}

// TestClickHouseCutAfterCommit: the insert is on disk, its answer is cut in the
// middle. That rows were sent twice is seen in the parts.
func TestClickHouseCutAfterCommit(t *testing.T) {
	t.Parallel()
	r := begun(t, 13, "ClickHouse cut in mid-answer after it has committed")
	require.NoError(t, r.ch.Exec(t.Context(), "SYSTEM STOP MERGES "+r.engines.Database+".records"))
	c := newCutter(t, r.engines.ClickHouseURL)
	a := r.proxied()
	a.ClickHouse = strings.Replace(c.URL, "://", "://"+r.engines.ClickHouseUser+"@", 1)
	r.worker(a, nil)
	c.armed.Store(pick[int64](4, 60))
	sent := r.send(r.lines(pick(400, 6000)), 30*time.Millisecond)
	sent.wait()
	r.ended()
	r.eventually("every cut came about", time.Minute, func() (bool, string) { return c.armed.Load() < 0, fmt.Sprint(c.cuts.Load()) })
	r.result.Tried = int(c.cuts.Load())
	r.eventually("rows that were committed are sent again", time.Minute, func() (bool, string) {
		var copies int64
		err := r.ch.QueryRow(t.Context(), "SELECT count() - uniqExact(account_id, kind, id) FROM records").Scan(&copies)
		return err == nil && copies > 0, fmt.Sprint(copies, " copies ", err)
	})
	r.settle()
}

// TestClickHouseDiskFull: ClickHouse has no room for another part. It says so
// as on a disk that is full: the space is reserved before a part is written.
func TestClickHouseDiskFull(t *testing.T) {
	t.Parallel()
	r := begun(t, 14, "ClickHouse's disk full")
	tables := []string{"records", "quarantine", "dirty_hours", "states", "waiting"}
	room := func(bytes string) {
		for _, table := range tables {
			require.NoError(t, r.ch.Exec(t.Context(), "ALTER TABLE "+table+" MODIFY SETTING min_free_disk_bytes_to_perform_insert = "+bytes))
		}
	}
	r.worker(r.proxied(), nil)
	sent := r.send(r.lines(pick(400, 6000)), 50*time.Millisecond)
	for range pick(2, 4) {
		r.result.Tried++
		room("1000000000000000000")
		require.ErrorContains(t, r.ch.Exec(t.Context(), "INSERT INTO dirty_hours (account_id, hour, marked_at) VALUES ('x', now(), now())"), "space",
			"this ClickHouse doesn't know the setting by which the test fills its disk")
		<-time.After(pick(3*time.Second, 30*time.Second))
		room("0")
		r.ended()
	}
	sent.wait()
	r.settle()
}
