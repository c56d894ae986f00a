package reporting

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/meterd/meterd/internal/deliver"
	"github.com/meterd/meterd/internal/destination"
	"github.com/meterd/meterd/internal/notify"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/reports"
)

// busyWait is how long a run stays away from a server whose places are taken.
const busyWait = 2 * time.Second

var (
	errForGood  = deliver.ErrForGood
	errResting  = errors.New("its server doesn't answer, as the tries of others show")
	errDisabled = fmt.Errorf("%w: %w before; `meterd report resend` tries it again", errForGood, deliver.ErrGone)
	errUnsigned = fmt.Errorf("%w: its schedule names no secret for it any more", errForGood)
	// errNoCopy: a file is too large for mail, and its copy isn't there yet.
	errNoCopy = errors.New("waits for the copy that it is to name")
)

// target is a destination that is tried in this round.
type target struct {
	delivery *reports.Delivery
	address  *destination.Address
}

// deliver to the targets, side by side; one that fails or hangs holds back no
// other. What tells where files lie comes once they lie there.
func (x *roundRun) deliver(ctx context.Context, todo []target) error {
	var now, later []target
	for _, t := range todo {
		if t.address.Kind == destination.Hook || t.address.Kind == destination.Mail && len(x.tooLarge()) > 0 {
			later = append(later, t)
		} else {
			now = append(now, t)
		}
	}
	var mu sync.Mutex // of row and detail
	return errors.Join(x.deliverAll(ctx, &mu, now), x.deliverAll(ctx, &mu, later))
}

func (x *roundRun) deliverAll(ctx context.Context, mu *sync.Mutex, list []target) error {
	errs := make([]error, len(list))
	var wg sync.WaitGroup
	for i, t := range list {
		wg.Go(func() { errs[i] = x.deliverOne(ctx, mu, t) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// deliverOne tries one destination and notes at once what became of it.
func (x *roundRun) deliverOne(ctx context.Context, mu *sync.Mutex, t target) error {
	mu.Lock()
	p, left, err := x.parcel(t)
	mu.Unlock()
	if err == nil {
		ref := reports.ScheduleOf(x.deps.Snapshot(), x.row).Secrets[t.delivery.To]
		secret := notify.Secret{Env: ref.Env, File: ref.File}
		if t.address.Kind == destination.Hook && secret == (notify.Secret{}) {
			err = errUnsigned
		} else {
			err = x.deps.Deliverer.Send(ctx, t.address, secret, p, x.deps.Clock.Now().UTC())
		}
	}
	if ctx.Err() != nil && err != nil {
		return ctx.Err() // the process stops: no try
	}
	mu.Lock()
	x.outcome(t.delivery, err)
	if err == nil {
		for _, name := range left {
			if !slices.Contains(x.detail.LeftOut, name) {
				x.detail.LeftOut = append(x.detail.LeftOut, name)
			}
		}
	} else {
		x.deps.Log.WarnContext(ctx, "report not delivered", slog.String("run", x.row.Run), slog.String("to", t.address.Host()),
			slog.String("state", t.delivery.State), slog.Any("error", err))
	}
	err = x.stamp(x.row, &x.detail)
	row := *x.row
	mu.Unlock()
	if err != nil {
		return err
	}
	return x.saver.save(ctx, row)
}

// outcome notes what became of a try, and when the next one comes.
func (x *roundRun) outcome(d *reports.Delivery, err error) {
	at := x.deps.Clock.Now().UTC().Truncate(time.Millisecond)
	d.NextAt, d.Detail = nil, ""
	if err == nil {
		d.Attempts++
		d.State, d.At = ledger.RunDelivered, &at
		return
	}
	d.Detail = err.Error()
	if errors.Is(err, deliver.ErrBusy) || errors.Is(err, errNoCopy) {
		next := at.Add((busyWait + rand.N(busyWait)).Truncate(time.Millisecond)) //nolint:gosec // it only spreads load
		if s := x.storing(); s != nil && s.NextAt != nil && errors.Is(err, errNoCopy) {
			next = *s.NextAt
		}
		d.NextAt = &next
		return
	}
	d.Attempts++
	d.Gone = errors.Is(err, deliver.ErrGone)
	if errors.Is(err, errForGood) || d.Attempts > len(x.opts.Retry) {
		d.State, d.At = ledger.RunFailed, &at
		return
	}
	wait := x.opts.Retry[d.Attempts-1]
	next := at.Add((wait + rand.N(wait/4+1)).Truncate(time.Millisecond)) //nolint:gosec // it only spreads load
	d.NextAt = &next
}

// parcel is what a destination gets, and which files a bound keeps from it.
func (x *roundRun) parcel(t target) (p *deliver.Parcel, left []string, err error) {
	sum := sha256.Sum256([]byte(t.delivery.To))
	p = &deliver.Parcel{ID: "report_" + x.row.Run + "_" + hex.EncodeToString(sum[:4])}
	if n := x.detail.Resends; n > 0 {
		p.ID += "_" + strconv.Itoa(n)
	}
	large := x.tooLarge()
	for _, f := range x.files {
		if t.address.Kind != destination.Mail || !slices.Contains(large, filepath.Base(f.Path)) {
			p.Files = append(p.Files, deliver.File{Name: filepath.Base(f.Path), Path: f.Path, Type: mediaType(f.Format)})
		}
	}
	switch t.address.Kind {
	case destination.Mail:
		left, err = x.letter(p, large)
	case destination.Hook:
		state := ledger.RunDelivered
		if len(x.detail.LeftOut) > 0 {
			state = ledger.RunTruncated
		}
		p.Event, p.Data = "report.ready", reports.NewNotice(x.row, x.files, state, x.detail.Places)
	case destination.Folder, destination.Bucket:
	}
	return p, left, err
}

// letter fills in a mail. It waits for a destination that will hold what is too
// large for it.
func (x *roundRun) letter(p *deliver.Parcel, large []string) (left []string, err error) {
	var list []reports.Enclosure
	closed := true
	for _, f := range x.files {
		closed = closed && f.Closed
		name := filepath.Base(f.Path)
		e := reports.Enclosure{Name: name, Attached: !slices.Contains(large, name)}
		if !e.Attached {
			if e.Places = x.detail.Places(name); len(e.Places) == 0 {
				if x.storing() != nil {
					return nil, errNoCopy
				}
				left = append(left, name+": too large for mail, and no folder or bucket has it")
			}
		}
		list = append(list, e)
	}
	l, err := x.deps.Reporter.NewLetter(x.row, closed, list)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errForGood, err)
	}
	p.Subject, p.Text, p.HTML, p.Sender = l.Subject, l.Text, l.HTML, l.Sender
	return left, nil
}

// tooLarge are the files that don't fit into a mail with those before them.
func (x *roundRun) tooLarge() (out []string) {
	var sum int64
	for _, f := range x.files {
		if sum+f.Bytes > x.opts.AttachMax {
			out = append(out, filepath.Base(f.Path))
			continue
		}
		sum += f.Bytes
	}
	return out
}

// storing is a folder or bucket that may still get the files.
func (x *roundRun) storing() *reports.Delivery {
	for i := range x.detail.Destinations {
		d := &x.detail.Destinations[i]
		if a, err := destination.Parse(d.To); err == nil && a.Stores() && d.State == ledger.RunPending {
			return d
		}
	}
	return nil
}

func mediaType(format string) string {
	switch format {
	case reports.FormatCSV:
		return "text/csv; charset=utf-8"
	case reports.FormatJSON:
		return "application/json"
	case reports.FormatHTML:
		return "text/html; charset=utf-8"
	case reports.FormatXLSX:
		return "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
	case reports.FormatPDF:
		return "application/pdf"
	case reports.FormatParquet:
		return "application/vnd.apache.parquet"
	default:
		return "application/octet-stream"
	}
}
