package reports

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/meterd/meterd/metering/ledger"
)

// Delivery is what became of one destination of a run.
type Delivery struct {
	To       string     `json:"to"`
	State    string     `json:"state"` // pending, delivered, failed
	Attempts int        `json:"attempts"`
	At       *time.Time `json:"at,omitempty"` // of the outcome
	Detail   string     `json:"detail,omitempty"`
}

// RunDetail is what a run's row keeps beside its state.
type RunDetail struct {
	Destinations []Delivery `json:"destinations"`
	Notes        []string   `json:"notes,omitempty"`
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
	Formats      []string   `json:"formats"`
	Destinations []Delivery `json:"destinations,omitempty"`
	Notes        []string   `json:"notes,omitempty"`
	Error        string     `json:"error,omitempty"`
	Files        []File     `json:"files,omitempty"`
}

// Info reads a run's row.
func Info(r *ledger.ReportRun) RunInfo {
	d := Detail(r)
	out := RunInfo{
		Run: r.Run, Parent: r.ParentID, Name: r.Name, Audience: r.Audience, Period: r.Period, State: r.State, DueAt: r.DueAt,
		Formats: r.Formats, Destinations: d.Destinations, Notes: d.Notes, Error: d.Error,
	}
	if r.Files != "" {
		_ = json.Unmarshal([]byte(r.Files), &out.Files) // ours
	}
	return out
}

// ForAccount is what a sub-account may see of a run that is about it: nothing
// of its parent and where its parent has reports sent.
func (r RunInfo) ForAccount() RunInfo {
	return RunInfo{Run: r.Run, Audience: r.Audience, Period: r.Period, State: r.State, DueAt: r.DueAt, Formats: r.Formats}
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

// Deliver brings files to a destination. Doing so again leaves the same files
// there. ErrDestination is for good; any other error may pass.
func Deliver(files []File, to string) error {
	u, err := url.Parse(to)
	if err != nil {
		return fmt.Errorf("%w: the address is wrong", ErrDestination)
	}
	switch u.Scheme {
	case "file":
	case "mailto":
		return fmt.Errorf("%w: mail isn't available yet; use file:DIR", ErrDestination)
	default:
		return fmt.Errorf("%w: %s isn't available yet; use file:DIR", ErrDestination, u.Scheme)
	}
	dir := u.Opaque
	if dir == "" {
		dir = u.Path
	}
	if dir, err = url.PathUnescape(dir); err != nil || dir == "" {
		return fmt.Errorf("%w: the folder's name is wrong", ErrDestination)
	}
	for _, f := range files {
		data, err := os.ReadFile(f.Path)
		if err != nil {
			return fmt.Errorf("read the report again: %w", err)
		}
		if err := putFile(filepath.Join(dir, filepath.Base(f.Path)), data); err != nil {
			err = withoutPath(err)
			return fmt.Errorf("%w: %w", ErrFolder, err)
		}
	}
	return nil
}
