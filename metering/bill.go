package metering

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"strconv"
)

// BillLine is what a month's bill fixes of one record: a line of the month in
// which it is booked.
type BillLine struct {
	AccountID string
	Kind      Kind
	ID        string // of the identity: a refund's is its message's
	Period    string // of occurred_at; another than the bill's: an adjustment
	Purse     Purse
	Currency  string
	Amount    Micros // a refund's is what it gives back
	Fee       Micros
	Plan      string
	Version   int
	Rule      int
}

// Bill sums up and digests the lines of one month, which must come ordered by
// account, kind and id (docs/domain.md, Periods). The digest is SHA-256 over the
// lines as tab-separated fields in the order of BillLine, amounts in
// micro-units, escaped as ClickHouse's TabSeparated is: an auditor gets the
// same from the rows with nothing of ours.
type Bill struct {
	Period      string
	Lines       int64
	Records     int64 // usage records, late ones of closed months too
	Amount      Sum   // of the month's own records
	Refunds     Sum   // of the month's own refunds
	Adjustments Sum   // late records less late refunds, and corrections

	digest hash.Hash
	buf    []byte
	last   [3]string
}

// NewBill starts the bill of a month.
func NewBill(period string) *Bill { return &Bill{Period: period, digest: sha256.New()} }

// ErrBillOrder says that a bill's lines don't come in their order: what was read
// isn't what the digest stands for.
var ErrBillOrder = errors.New("a bill's lines are out of order")

// ErrBillTwice says that a line's identity has been there: it isn't added.
var ErrBillTwice = errors.New("a bill has two lines of one identity")

// Add takes the next line.
func (b *Bill) Add(l *BillLine) error {
	key := [3]string{l.AccountID, string(l.Kind), l.ID}
	if b.Lines > 0 && !lessKey(b.last, key) {
		if key == b.last {
			return ErrBillTwice
		}
		return ErrBillOrder
	}
	b.last = key
	b.Lines++
	switch {
	case l.Kind == KindUsage && l.Period == b.Period:
		b.Records++
		b.Amount = b.Amount.Plus(l.Amount.Sum())
	case l.Kind == KindRefund && l.Period == b.Period:
		b.Refunds = b.Refunds.Plus(l.Amount.Sum())
	case l.Kind == KindRefund:
		b.Adjustments = b.Adjustments.Minus(l.Amount.Sum())
	default:
		if l.Kind == KindUsage {
			b.Records++
		}
		b.Adjustments = b.Adjustments.Plus(l.Amount.Sum())
	}
	b.buf = l.append(b.buf[:0])
	_, _ = b.digest.Write(b.buf) // never fails
	return nil
}

// Digest of the lines so far, as hex.
func (b *Bill) Digest() string { return hex.EncodeToString(b.digest.Sum(nil)) }

func lessKey(a, b [3]string) bool {
	for i := range a {
		if a[i] != b[i] {
			return a[i] < b[i]
		}
	}
	return false
}

// Hash tells a line from every other one of its bill.
func (l *BillLine) Hash() uint64 { return digest(l.append(nil)) }

// append writes the line as TabSeparated does.
func (l *BillLine) append(b []byte) []byte {
	for _, s := range []string{l.AccountID, string(l.Kind), l.ID, l.Period, string(l.Purse), l.Currency} {
		b = append(appendEscaped(b, s), '\t')
	}
	b = append(strconv.AppendInt(b, int64(l.Amount), 10), '\t')
	b = append(strconv.AppendInt(b, int64(l.Fee), 10), '\t')
	b = append(appendEscaped(b, l.Plan), '\t')
	b = append(strconv.AppendInt(b, int64(l.Version), 10), '\t')
	return append(strconv.AppendInt(b, int64(l.Rule), 10), '\n')
}

func appendEscaped(b []byte, s string) []byte {
	for i := range len(s) {
		switch c := s[i]; c {
		case '\b':
			b = append(b, '\\', 'b')
		case '\f':
			b = append(b, '\\', 'f')
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		case 0:
			b = append(b, '\\', '0')
		case '\\', '\'':
			b = append(b, '\\', c)
		default:
			b = append(b, c)
		}
	}
	return b
}
