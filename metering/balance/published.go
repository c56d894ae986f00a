package balance

import (
	"strconv"
	"strings"

	"github.com/meterd/meterd/metering"
)

// Published tells that an account's state has changed, and, of a change of its
// flags, to what.
type Published struct {
	Account string
	Flags   bool // the rest is known

	counters  counters
	own, back metering.Flags
	until     int64 // ms
}

// parsePublished reads what lib.lua publishes.
func parsePublished(text string) Published {
	id, rest, ok := strings.Cut(text, "\n")
	p := Published{Account: id}
	f := strings.Fields(rest)
	if !ok || len(f) != 6 {
		return p
	}
	var n [6]int64
	for i := range n {
		var err error
		if n[i], err = strconv.ParseInt(f[i], 10, 64); err != nil {
			return p
		}
	}
	p.Flags = true
	p.counters = counters{projection: n[0], own: n[1], parent: n[2]}
	p.own, p.back, p.until = metering.Flags(n[3]), metering.Flags(n[4]), n[5]
	return p
}

// With is the state after a published change of the account or of its parent:
// flags and epoch only; nil if it has to be read again. A change that the state
// knows already changes nothing.
func (st *State) With(p *Published) *State {
	if !p.Flags || p.counters.projection != st.counters.projection {
		return nil
	}
	next := *st
	switch p.Account {
	case st.ID:
		if p.counters.own <= st.counters.own {
			return st
		}
		if st.ParentID != "" && p.counters.parent != st.counters.parent {
			return nil
		}
		next.Own, next.OwnHeldBack, next.OwnUntil = p.own, p.back, p.until
		next.counters.own = p.counters.own
	case st.ParentID:
		if p.counters.own <= st.counters.parent {
			return st
		}
		next.Parent, next.ParentHeldBack, next.ParentUntil = p.own, p.back, p.until
		next.counters.parent = p.counters.own
	default:
		return nil
	}
	next.Epoch = next.counters.epoch()
	return &next
}
