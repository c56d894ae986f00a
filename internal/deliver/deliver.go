// Package deliver brings files to where an address says: a folder, an S3
// bucket, a mail address, a signed webhook. Doing so again leaves the same names
// there. It holds a server that doesn't answer away from the others, and knows
// nothing of accounts.
package deliver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/meterd/meterd/internal/destination"
	"github.com/meterd/meterd/internal/notify"
)

// Errors that callers branch on.
var (
	// ErrForGood: trying again won't help; something has to be changed first.
	ErrForGood = errors.New("can't be delivered")
	// ErrGone: the webhook's receiver wants no more (410).
	ErrGone = notify.ErrGone
	// ErrBusy: the server doesn't answer or takes long; nothing was tried.
	ErrBusy = errors.New("waits for the server")
)

// File is one that is delivered.
type File struct {
	Name string // at the destination
	Path string // here
	Type string // media type
}

// Parcel is what one destination gets.
type Parcel struct {
	ID    string // the same on every try: receivers may drop a copy
	Files []File

	Subject, Text, HTML string // of a mail
	Sender              string // what it is said to be written by; "": meterd

	Event string // of a webhook
	Data  any
}

// Options of a Deliverer. Zero values take the defaults.
type Options struct {
	Mail *notify.Mail // nil: there is no server
	// Timeout of one delivery. Longer: slower links and larger files get
	// through; a server that hangs is noticed later. Default 60 s.
	Timeout time.Duration
	// Rest is how long a server that three tries in a row had no answer from is
	// left alone.
	// Default 15 s.
	Rest time.Duration
}

// Deliverer delivers. It may be used by many goroutines.
type Deliverer struct {
	opts  Options
	hooks *notify.Webhook
	gates *Gates
}

// New returns a Deliverer.
func New(o Options) *Deliverer {
	if o.Timeout == 0 {
		o.Timeout = time.Minute
	}
	return &Deliverer{opts: o, hooks: notify.NewWebhook(), gates: NewGates(GateOptions{Rest: o.Rest})}
}

// Resting tells whether the server there is left alone: three tries in a
// row had no answer. After its rest one caller is told that it isn't, and is to Send.
func (d *Deliverer) Resting(a *destination.Address) bool { return d.gates.of(serverOf(a)).resting() }

// serverOf names the server behind an address.
func serverOf(a *destination.Address) string {
	server := string(a.Kind) + " " + a.Host()
	if a.Kind == destination.Folder {
		server += " " + a.Dir // each may be another disk
	}
	return server
}

// Send delivers a parcel. ErrForGood and ErrGone are for good, ErrBusy is no
// try; any other error may pass.
func (d *Deliverer) Send(ctx context.Context, a *destination.Address, secret notify.Secret, p *Parcel, now time.Time) error {
	return d.gates.Run(ctx, serverOf(a), func() error {
		ctx, cancel := context.WithTimeout(ctx, d.opts.Timeout)
		defer cancel()
		return forGood(d.send(ctx, a, secret, p, now))
	})
}

func (d *Deliverer) send(ctx context.Context, a *destination.Address, secret notify.Secret, p *Parcel, now time.Time) error {
	switch a.Kind {
	case destination.Folder:
		return toFolder(a.Dir, p.Files)
	case destination.Bucket:
		return toBucket(ctx, a, p.Files)
	case destination.Mail:
		l := &notify.Letter{ID: p.ID, To: a.To, Subject: p.Subject, Text: p.Text, HTML: p.HTML, Sender: p.Sender, At: now}
		for _, f := range p.Files {
			l.Files = append(l.Files, notify.Attachment{Name: f.Name, Path: f.Path, Type: f.Type})
		}
		return d.opts.Mail.Send(ctx, l)
	case destination.Hook:
		return d.hooks.Send(ctx, a.Text, secret, &notify.Message{ID: "msg_" + p.ID, Type: p.Event, At: now, Data: p.Data}, now)
	}
	return fmt.Errorf("%w: %s", destination.ErrAddress, a.Kind)
}

// forGood marks what no retry mends.
func forGood(err error) error {
	var answer *notify.MailError
	switch {
	case err == nil, errors.Is(err, ErrForGood):
		return err
	case errors.As(err, &answer):
		if !answer.ForGood() {
			return err
		}
	case errors.Is(err, notify.ErrGone), errors.Is(err, notify.ErrSecret), errors.Is(err, notify.ErrSize), errors.Is(err, notify.ErrMail),
		errors.Is(err, destination.ErrAddress):
	default:
		return err
	}
	return fmt.Errorf("%w: %w", ErrForGood, err)
}
