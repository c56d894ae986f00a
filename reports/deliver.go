package reports

import (
	"cmp"
	"encoding/json"
	"time"

	"github.com/meterd/meterd/metering/ledger"
)

// Delivery is what became of one destination of a run.
type Delivery struct {
	To       string     `json:"to"`
	State    string     `json:"state"` // pending, delivered, failed
	Attempts int        `json:"attempts"`
	At       *time.Time `json:"at,omitempty"`      // of the outcome
	NextAt   *time.Time `json:"next_at,omitempty"` // of the next try
	Gone     bool       `json:"gone,omitempty"`    // the receiver wants no more
	Detail   string     `json:"detail,omitempty"`
}

// RunDetail is what a run's row keeps beside its state.
type RunDetail struct {
	Destinations []Delivery `json:"destinations"`
	Notes        []string   `json:"notes,omitempty"`
	LeftOut      []string   `json:"left_out,omitempty"` // files that a bound kept from a destination
	Resends      int        `json:"resends,omitempty"`
	Error        string     `json:"error,omitempty"`
}

// RunInfo is a run as it is listed.
type RunInfo struct {
	Run          string     `json:"run"`
	Parent       string     `json:"parent,omitempty"`
	Name         string     `json:"name,omitempty"`
	Audience     string     `json:"audience"`
	Period       string     `json:"period"`
	State        string     `json:"state"`
	DueAt        time.Time  `json:"due_at"`
	Kind         string     `json:"kind"`
	Formats      []string   `json:"formats"`
	Destinations []Delivery `json:"destinations,omitempty"`
	Notes        []string   `json:"notes,omitempty"`
	LeftOut      []string   `json:"left_out,omitempty"`
	Error        string     `json:"error,omitempty"`
	Files        []File     `json:"files,omitempty"`
}

// Info reads a run's row.
func Info(r *ledger.ReportRun) RunInfo {
	d := Detail(r)
	out := RunInfo{
		Run: r.Run, Parent: r.ParentID, Name: r.Name, Audience: r.Audience, Period: r.Period, State: r.State, DueAt: r.DueAt,
		Kind: cmp.Or(r.Kind, KindStatement), Formats: r.Formats, Destinations: d.Destinations, Notes: d.Notes, LeftOut: d.LeftOut, Error: d.Error,
	}
	if r.Files != "" {
		_ = json.Unmarshal([]byte(r.Files), &out.Files) // ours
	}
	return out
}

// ForAccount is what a sub-account may see of a run that is about it: nothing
// of its parent and where its parent has reports sent.
func (r RunInfo) ForAccount() RunInfo {
	return RunInfo{Run: r.Run, Audience: r.Audience, Period: r.Period, State: r.State, DueAt: r.DueAt, Kind: cmp.Or(r.Kind, KindStatement), Formats: r.Formats}
}

// Detail of a run; destinations that nothing is known of are pending.
func Detail(r *ledger.ReportRun) RunDetail {
	var d RunDetail
	if r.Detail != "" {
		_ = json.Unmarshal([]byte(r.Detail), &d) // ours
	}
	known := map[string]Delivery{}
	for _, x := range d.Destinations {
		known[x.To] = x
	}
	d.Destinations = nil
	for _, to := range r.Destinations {
		x, ok := known[to]
		if !ok {
			x = Delivery{To: to, State: ledger.RunPending}
		}
		d.Destinations = append(d.Destinations, x)
	}
	return d
}
