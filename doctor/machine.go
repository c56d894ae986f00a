package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// machine looks at this machine's disk and memory, for the embedded system.
func machine(folder string, f *findings) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(folder, &st); err == nil {
		unit := uint64(st.Bsize) //nolint:unconvert // its type differs by system
		free, total := uint64(st.Bavail)*unit, st.Blocks*unit
		f.add("disk", tight(folder, free, total), size(int64(free))+" free")
	}
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		available, total := meminfo(string(text))
		f.add("memory", short("this machine", available, total), size(available)+" available")
	}
}

// meminfo reads Linux's, in bytes.
func meminfo(text string) (available, total int64) {
	for line := range strings.Lines(text) {
		name, rest, _ := strings.Cut(line, ":")
		fields := strings.Fields(rest)
		if len(fields) == 0 {
			continue
		}
		n, _ := strconv.ParseInt(fields[0], 10, 64)
		switch name {
		case "MemAvailable":
			available = n << 10
		case "MemTotal":
			total = n << 10
		}
	}
	return available, total
}

// clockApart is how far clocks may be apart (docs/operators.md).
const clockApart = time.Second

// clocks compares the engines' with this machine's.
func (s *System) clocks(ctx context.Context, redis, ledger bool, f *findings) {
	ctx, cancel := context.WithTimeout(ctx, engineMax)
	defer cancel()
	var errs []error
	compare := func(whose string, ask func(ctx context.Context) (time.Time, error)) {
		before := time.Now() //nolint:forbidigo // this machine's own is what is compared
		theirs, err := ask(ctx)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", whose, err))
			return
		}
		if off := apart(before, time.Now(), theirs); off != 0 { //nolint:forbidigo // as above
			errs = append(errs, fmt.Errorf("%s is %s: keep all machines' time by NTP", whose, aheadOrBehind(off)))
		}
	}
	if redis {
		compare("redis", func(ctx context.Context) (time.Time, error) { return s.Redis.Time(ctx).Result() })
	}
	if ledger {
		compare("clickhouse", s.Ledger.Now)
	}
	f.add("clocks", errors.Join(errs...), "within a second of this machine's")
}

// apart is how far a clock is off that was asked between two instants of ours: 0
// for what may be the time that asking took, and what may be apart.
func apart(before, after, theirs time.Time) time.Duration {
	switch {
	case theirs.Before(before.Add(-clockApart)):
		return theirs.Sub(before)
	case theirs.After(after.Add(clockApart)):
		return theirs.Sub(after)
	}
	return 0
}

func aheadOrBehind(off time.Duration) string {
	if off < 0 {
		return (-off).Round(time.Millisecond).String() + " behind this machine"
	}
	return off.Round(time.Millisecond).String() + " ahead of this machine"
}
