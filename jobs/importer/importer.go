// Package importer reads the message logs that users of messaging platforms can
// download, and writes them as usage records, one JSON line for each message,
// of any size. It rates nothing and knows no account: what its mapping doesn't
// name is judged when the record is.
package importer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/meterd/meterd/internal/wire"
)

// Options say which platform a log is of, and how to read it.
type Options struct {
	From string // TwilioCSV, …
	// Account that all messages are charged to. "": the platform's own, through
	// Accounts.
	Account string
	// Accounts maps the platform's accounts to ours; others keep their id.
	Accounts map[string]string
	// Logged takes the price in the log instead of rating by plan.
	Logged bool
	// Currency of logged prices where the log has none.
	Currency string
	// Columns names the log's columns where they differ from the platform's:
	// a field of this package (id, to, …) → the log's name.
	Columns map[string]string
}

// The platforms.
const (
	TwilioCSV     = "twilio-csv"
	TwilioJSON    = "twilio-json"
	VonageReports = "vonage-reports"
	KaleyraCSV    = "kaleyra-csv"
)

// Errors of a log as a whole. A message that can't be read travels as it is and
// is quarantined.
var (
	ErrPlatform = errors.New("unknown platform: give twilio-csv, twilio-json, vonage-reports or kaleyra-csv")
	ErrColumn   = errors.New("column")
	ErrCurrency = errors.New("the log has prices and no currency: give it with --currency, such as --currency USD")
	ErrLog      = errors.New("not such a log")
)

// unreadable sends a message on as it stands.
func (x *reading) unreadable(r *Record, why error, raw []byte) error {
	x.stats.Unreadable++
	f := wire.Unreadable{ID: r.ID, AccountID: r.AccountID, What: why.Error()}
	if utf8.Valid(raw) {
		f.Line = string(raw)
	} else {
		f.LineBytes = raw
	}
	return x.write(&f)
}

// pendingIDsMax bounds the ids of messages left out that are told.
const pendingIDsMax = 10

// Stats are what a log held.
type Stats struct {
	Messages   int64 // read
	Unreadable int64 // of them, sent on as they are
	Unpriced   int64 // of them that came in without a price, where the log's was asked for
	Pending    int64 // of them without final figures: left out
	// PendingIDs are the first of those left out.
	PendingIDs []string
}

// Record is a line that is written, as docs/domain.md, Usage records, defines it.
type Record struct {
	ID         string            `json:"id"`
	Kind       string            `json:"kind,omitempty"`
	AccountID  string            `json:"account_id"`
	Channel    string            `json:"channel,omitempty"`
	Direction  string            `json:"direction,omitempty"`
	Status     string            `json:"status,omitempty"`
	ErrorCode  string            `json:"error_code,omitempty"`
	To         string            `json:"to,omitempty"`
	From       string            `json:"from,omitempty"`
	Country    string            `json:"country,omitempty"`
	Network    string            `json:"network,omitempty"`
	Category   string            `json:"category,omitempty"`
	Units      string            `json:"units,omitempty"`
	Unit       string            `json:"unit,omitempty"`
	Amount     string            `json:"amount,omitempty"`
	Currency   string            `json:"currency,omitempty"`
	RefersTo   string            `json:"refers_to,omitempty"`
	OccurredAt string            `json:"occurred_at"`
	Tags       map[string]string `json:"tags,omitempty"`
}

// platform is how one platform writes its logs.
type platform struct {
	// columns are the names of fields in its logs, the first that is there.
	columns map[string][]string
	// required fields must have a column in a log of CSV.
	required []string
	// list is the key of the messages in a document of JSON.
	list string
	csv  bool // it may be CSV
	json bool // it may be JSON
	// record makes of a message what follows from its fields.
	record func(m message, r *Record) error
	// pending tells whether a message that is on its way, by its status as the
	// record has it, may still get other figures than it has. A record of it would
	// make its final one a conflict. nil: never.
	pending func(m message, status string) bool
	// product tells from the fields that there are which product a log is of, ""
	// where they don't; nil where the platform has one.
	product func(has func(field string) bool) string
}

func platforms() map[string]platform {
	return map[string]platform{TwilioCSV: twilioCSV(), TwilioJSON: twilioJSON(), VonageReports: vonage(), KaleyraCSV: kaleyra()}
}

// Read writes each message of a log with emit, whose line holds until it
// returns. What can't be read as a message is emitted
// as it stands, beside its account.
func Read(in io.Reader, o Options, emit func(line []byte) error) (Stats, error) {
	p, ok := platforms()[o.From]
	if !ok {
		return Stats{}, ErrPlatform
	}
	for field := range o.Columns {
		if _, known := p.columns[field]; !known {
			return Stats{}, fmt.Errorf("%w %q isn't a field of such a log: it has %s", ErrColumn, field, strings.Join(slices.Sorted(maps.Keys(p.columns)), ", "))
		}
	}
	var failed error // of whoever takes the records: no fault of the log's
	x := &reading{platform: p, options: o, emit: func(line []byte) error {
		failed = emit(line)
		return failed
	}}
	err := x.read(in)
	if err == nil || failed != nil || errors.Is(err, ErrColumn) || errors.Is(err, ErrCurrency) || errors.Is(err, ErrLog) {
		return x.stats, err
	}
	return x.stats, fmt.Errorf("%w: %w", ErrLog, err)
}

// reading is one log.
type reading struct {
	platform platform
	options  Options
	emit     func(line []byte) error
	stats    Stats
	product  string // of the page that is being read
	currency bool   // a message had one
}

// message is one line of a log.
type message struct {
	get     func(field string) string // "" where there is none
	has     func(field string) bool   // also where it is empty
	product string                    // that the page names; or ""
}

// take writes the records of a message; raw is it as it stands.
func (x *reading) take(get func(string) string, has func(string) bool, raw []byte) error {
	x.stats.Messages++
	m := message{get: func(f string) string { return strings.TrimSpace(get(f)) }, has: has, product: x.product}
	r := Record{ID: m.get("id"), AccountID: x.account(m.get("account"))}
	err := x.platform.record(m, &r)
	if err == nil {
		err = undamaged("id", r.ID)
	}
	if err == nil {
		err = undamaged("account", r.AccountID)
	}
	if r.ID != "" && (x.platform.pending != nil && x.platform.pending(m, r.Status) || err == nil && x.unpriced(m, &r)) {
		if x.stats.Pending++; len(x.stats.PendingIDs) < pendingIDsMax {
			x.stats.PendingIDs = append(x.stats.PendingIDs, r.ID)
		}
		return nil
	}
	if err == nil && r.ID == "" {
		err = unreadable("id")
	}
	refunded := false
	if err == nil {
		refunded, err = yes("refunded", m.get("refunded"))
	}
	if err == nil && x.options.Logged {
		err = x.price(m, &r)
	}
	if errors.Is(err, ErrCurrency) {
		return err
	}
	if err != nil {
		return x.unreadable(&r, err, raw)
	}
	if err := x.write(&r); err != nil {
		return err
	}
	if !refunded {
		return nil
	}
	return x.write(&Record{ID: "refund:" + r.ID, Kind: "refund", AccountID: r.AccountID, RefersTo: r.ID, OccurredAt: r.OccurredAt})
}

func (x *reading) write(r any) error {
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("write the record: %w", err)
	}
	return x.emit(line)
}

func (x *reading) account(theirs string) string {
	if x.options.Account != "" {
		return x.options.Account
	}
	if ours, ok := x.options.Accounts[theirs]; ok {
		return ours
	}
	return theirs
}

// unpriced tells whether the log's price is asked for and not known yet. None on a
// message that failed means that it cost nothing; none on one that came in, that the
// platform doesn't charge for it, and the plan rates it.
func (x *reading) unpriced(m message, r *Record) bool {
	return x.options.Logged && r.Direction != "inbound" && !present(m.get("price")) && !failed(r.Status)
}

func failed(status string) bool {
	return slices.Contains([]string{"failed", "undelivered", "rejected", "canceled", "expired"}, status)
}

// price takes the log's: platforms write what they deducted, so it may be below
// zero.
func (x *reading) price(m message, r *Record) error {
	price := strings.TrimPrefix(m.get("price"), "-")
	if !present(price) {
		if !failed(r.Status) {
			x.stats.Unpriced++
			return nil
		}
		price = "0"
	}
	plain, err := decimalText("price", price)
	if err != nil {
		return err
	}
	r.Amount = plain
	if currency := m.get("currency"); present(currency) {
		r.Currency, x.currency = strings.ToUpper(currency), true
		return nil
	}
	if r.Currency = x.options.Currency; r.Currency != "" {
		return nil
	}
	if !x.currency {
		return ErrCurrency // the log is one without, so that all others would fail as well
	}
	return unreadable("currency")
}
