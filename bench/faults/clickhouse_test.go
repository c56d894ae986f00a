package main_test

import (
	"testing"
	"time"
)

// TestClickHouseAway: connections are refused for a while.
func TestClickHouseAway(t *testing.T) {
	t.Parallel()
	r := newRig(t, 10, "ClickHouse away")
	r.before(600)
	r.worker(r.proxied(), nil)
	sent := r.send(r.lines(pick(1500, 6000)), 50*time.Millisecond)
	for range 2 {
		r.result.Tried++
		r.back.cut()
		<-time.After(pick(5*time.Second, 90*time.Second))
		r.back.mend()
		r.ended()
	}
	sent.wait()
	r.settle()
}
