package worker

import (
	"fmt"
	"os"
	"regexp"
	"testing"
	"time"
)

func TestSimHist(t *testing.T) {
	o := newOrigin(t, time.Date(2026, 11, 15, 12, 0, 0, 0, time.UTC))
	n := number(t, "METERD_SIM_SCHEDULES", 1000)
	hist := map[string][]uint64{}
	started := time.Now()
	steps := 0
	for seed := number(t, "FROM", 1); seed <= n; seed++ {
		st := time.Now()
		w := simulate(t, o, drawPlan(seed, os.Getenv("WITHOUT")))
		if d := time.Since(st); d > 300*time.Millisecond { fmt.Println("slow", seed, d, w.steps) }
		steps += w.steps
		seen := map[string]bool{}
		for _, e := range w.errs {
			k := regexp.MustCompile(`\d+`).ReplaceAllString(e, "#")
			if len(k) > 60 {
				k = k[:60]
			}
			if !seen[k] {
				hist[k] = append(hist[k], seed)
			}
			seen[k] = true
		}
	}
	fmt.Println(time.Since(started), "steps", steps)
	for k, v := range hist {
		fmt.Println(len(v), k, v[:min(8, len(v))])
	}
}
