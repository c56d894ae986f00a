package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// The payload of an ingest task is JSON lines, one record each, plain or
// compressed with zstd or gzip; its first bytes say which. Any language can
// write it. A line that isn't a record travels as it came.

// PayloadMax bounds a decoded payload, LinesMax its lines: of each line a record
// is made, which takes some 400 bytes however short the line is.
const (
	PayloadMax = 128 << 20
	LinesMax   = 100_000
)

// ErrPayload says that the payload is neither plain text nor whole zstd or gzip.
var ErrPayload = errors.New("unreadable payload")

// ErrLines says that the payload has more lines than LinesMax. It is an ErrPayload.
var ErrLines = fmt.Errorf("%w: more than %d lines in one task", ErrPayload, LinesMax)

// Codec encodes and decodes payloads. It may be used by many goroutines.
type Codec struct {
	enc *zstd.Encoder
	dec *zstd.Decoder
}

// NewCodec returns a codec.
func NewCodec() (*Codec, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderCRC(true), zstd.WithEncoderConcurrency(4))
	if err != nil {
		return nil, fmt.Errorf("zstd: %w", err)
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(4), zstd.WithDecoderMaxMemory(PayloadMax))
	if err != nil {
		return nil, fmt.Errorf("zstd: %w", err)
	}
	return &Codec{enc: enc, dec: dec}, nil
}

// compressMin: smaller payloads don't shrink.
const compressMin = 256

// Encode joins lines, which hold no newline, into a payload.
func (c *Codec) Encode(lines [][]byte) []byte {
	return c.Compress(bytes.Join(lines, []byte{'\n'}))
}

// Compress is Encode for lines that are joined already.
func (c *Codec) Compress(text []byte) []byte {
	if len(text) < compressMin && !Compressed(text) {
		return bytes.Clone(text)
	}
	return c.enc.EncodeAll(text, make([]byte, 0, len(text)/4+64))
}

var (
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd} //nolint:gochecknoglobals // constant
	gzipMagic = []byte{0x1f, 0x8b}             //nolint:gochecknoglobals // constant
)

// Compressed tells whether a payload is, so that it has no lines by itself.
func Compressed(p []byte) bool { return bytes.HasPrefix(p, zstdMagic) || bytes.HasPrefix(p, gzipMagic) }

// Unpacked is how many bytes of text the payload holds at most, as far as its head
// says; PayloadMax where it doesn't.
func Unpacked(payload []byte) int {
	switch {
	case bytes.HasPrefix(payload, zstdMagic):
		var h zstd.Header
		if err := h.Decode(payload); err == nil && h.HasFCS && h.FrameContentSize < PayloadMax {
			return int(h.FrameContentSize)
		}
		return PayloadMax
	case bytes.HasPrefix(payload, gzipMagic):
		return PayloadMax
	}
	return len(payload)
}

// Decode returns the payload's lines. They share memory with one another; empty
// ones are left out.
func (c *Codec) Decode(payload []byte) ([][]byte, error) {
	text, err := c.text(payload)
	if err != nil {
		return nil, err
	}
	if bytes.Count(text, []byte{'\n'}) > LinesMax {
		return nil, ErrLines
	}
	lines := make([][]byte, 0, bytes.Count(text, []byte{'\n'})+1)
	for line := range bytes.SplitSeq(text, []byte{'\n'}) {
		line = bytes.TrimSuffix(line, []byte{'\r'})
		if len(line) > 0 {
			lines = append(lines, line)
		}
	}
	return lines, nil
}

// wholeMax is how large a text may be that is unpacked before its lines are counted.
const wholeMax = 4 << 20

// text is the payload without its compression.
func (c *Codec) text(payload []byte) ([]byte, error) {
	switch {
	case bytes.HasPrefix(payload, zstdMagic):
		if Unpacked(payload) > wholeMax {
			r, err := zstd.NewReader(bytes.NewReader(payload), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(PayloadMax))
			if err != nil {
				return nil, fmt.Errorf("%w: zstd: %w", ErrPayload, err)
			}
			defer r.Close()
			if _, err := io.Copy(io.Discard, &bounded{r, PayloadMax, LinesMax}); err != nil {
				return nil, fmt.Errorf("%w: zstd: %w", ErrPayload, err)
			}
		}
		text, err := c.dec.DecodeAll(payload, nil)
		if err != nil {
			return nil, fmt.Errorf("%w: zstd: %w", ErrPayload, err)
		}
		return text, nil
	case bytes.HasPrefix(payload, gzipMagic):
		r, err := gzip.NewReader(bytes.NewReader(payload))
		if err != nil {
			return nil, fmt.Errorf("%w: gzip: %w", ErrPayload, err)
		}
		var b bytes.Buffer
		if _, err := b.ReadFrom(&bounded{r, PayloadMax, LinesMax}); err != nil {
			return nil, fmt.Errorf("%w: gzip: %w", ErrPayload, err)
		}
		return b.Bytes(), nil
	}
	return payload, nil
}

// bounded ends what holds more bytes or lines than a payload may.
type bounded struct {
	r           io.Reader
	left, lines int
}

var errTooLarge = errors.New("payload too large when decompressed")

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTooLarge
	}
	n, err := b.r.Read(p[:min(len(p), b.left)])
	b.left -= n
	if b.lines -= bytes.Count(p[:n], []byte{'\n'}); b.lines < 0 {
		return n, ErrLines
	}
	return n, err //nolint:wrapcheck // io.Reader
}

// JudgeHeader heads a judge task: the epoch in which its records were found to be
// duplicates, and the seq of that charge.
type JudgeHeader struct {
	Epoch int64 `json:"epoch"`
	Seq   int64 `json:"seq"`
	// Corrections: the lines are Corrections, not records.
	Corrections bool `json:"corrections,omitempty"`
}

// CorrectionHeader heads a task of Corrections: the reference of their re-rating.
type CorrectionHeader struct {
	Ref string `json:"ref"`
}

// Correction is one adjustment that a re-rating books, a line of its task.
type Correction struct {
	ID         string    `json:"id"` // of the adjustment: the reference and the message
	AccountID  string    `json:"account_id"`
	MessageID  string    `json:"message_id"`
	OccurredAt time.Time `json:"occurred_at"` // the message's
	Channel    string    `json:"channel"`
	Direction  string    `json:"direction"`
	Country    string    `json:"country"`
	Network    string    `json:"network"`
	Category   string    `json:"category"`
	Purse      string    `json:"purse"` // that the message drew on
	Amount     int64     `json:"amount_micros"`
	Fee        int64     `json:"fee_micros"`
	Plan       string    `json:"plan"`
	Version    int       `json:"version"`
	Rule       int       `json:"rule"`
	// Rated is what the message comes to by the plan: the difference that is booked
	// is worked out anew when it is. nil: of a version before; Amount and Fee are.
	Rated *Rated `json:"rated,omitempty"`
}

// Rated is a charge and its fee, in micro-units.
type Rated struct {
	Amount int64 `json:"amount_micros"`
	Fee    int64 `json:"fee_micros"`
	// Hash of the content that was rated; 0: it isn't known (a task of an older version).
	Hash uint64 `json:"content_hash,omitempty"`
}

// RefundHeader heads a refund task: when it was split off, so that it can wait for
// messages that are still in the queue. 0: it doesn't wait.
type RefundHeader struct {
	At int64 `json:"at"` // ms
}

// EncodeHead puts a head in front of the records.
func (c *Codec) EncodeHead(head any, lines [][]byte) ([]byte, error) {
	b, err := json.Marshal(head)
	if err != nil {
		return nil, fmt.Errorf("head of a task: %w", err)
	}
	return c.Encode(append([][]byte{b}, lines...)), nil
}

// DecodeHead takes them apart.
func (c *Codec) DecodeHead(payload []byte, head any) ([][]byte, error) {
	lines, err := c.Decode(payload)
	if err != nil {
		return nil, err
	}
	if len(lines) == 0 || json.Unmarshal(lines[0], head) != nil {
		return nil, fmt.Errorf("%w: no head", ErrPayload)
	}
	return lines[1:], nil
}
