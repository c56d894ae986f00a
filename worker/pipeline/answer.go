package pipeline

import (
	"encoding/binary"
	"errors"

	"github.com/meterd/meterd/metering"
)

// decision is what was decided for one line of a task. The charged ones travel
// with the answer in Redis, so that a retry never rates and never decides again.
type decision struct {
	line         int
	group        int
	charge       metering.Charge
	purse        metering.Purse
	purseAccount string // account whose balance the purse is, empty: none
}

// refusal of one line, kept with the answer too.
type refusal struct {
	line   int
	reason metering.Reason
	detail string
}

// mayBeOld: a newer snapshot may not refuse for it.
func (r refusal) mayBeOld() bool {
	switch r.reason {
	case metering.ReasonUnknownAccount, metering.ReasonChannelNotEnabled, metering.ReasonNoPrice,
		metering.ReasonCurrencyMismatch, metering.ReasonUnitMismatch:
		return true
	case metering.ReasonMalformed, metering.ReasonAccountClosed, metering.ReasonFromFuture, metering.ReasonConflict,
		metering.ReasonUnknownMessage, metering.ReasonOverRefund, metering.ReasonOverflow, metering.ReasonTooOld:
	}
	return false
}

var (
	errAnswer = errors.New("an answer's rated columns are damaged")
	// errNewer puts the task back until a worker of that version takes it.
	errNewer = errors.New("an answer was written by a newer version of meterd: finish the upgrade of the workers")
)

// answerVersion of the rated columns, after a byte of zero. Those of the first
// version have neither: they begin with the number of names, which isn't zero. Those
// that set no line aside are of the second.
// testdata/answer-*.hex holds one of each version, for workers of two versions
// work side by side during an upgrade.
const answerVersion = 3

// rated is what an answer keeps of its batch: what was decided, what was refused, and
// the lines that were set aside.
type rated struct {
	decisions []decision
	refused   []refusal
	aside     []int
}

// encode packs them: the version, a string table, then varints.
func (r *rated) encode() []byte {
	table := map[string]uint64{}
	var names []string
	ref := func(s string) uint64 {
		i, ok := table[s]
		if !ok {
			i = uint64(len(names))
			table[s] = i
			names = append(names, s)
		}
		return i
	}
	var b []byte
	u := func(v uint64) { b = binary.AppendUvarint(b, v) }
	u(uint64(len(r.decisions)))
	for i := range r.decisions {
		d := &r.decisions[i]
		u(uint64(d.line))
		u(uint64(d.group))
		b = binary.AppendVarint(b, int64(d.charge.Amount))
		b = binary.AppendVarint(b, int64(d.charge.Fee))
		b = binary.AppendVarint(b, int64(d.charge.Units))
		b = binary.AppendVarint(b, int64(d.charge.Billed))
		u(ref(d.charge.Unit))
		u(ref(d.charge.Plan))
		u(uint64(d.charge.Version))
		u(uint64(d.charge.Rule))
		u(ref(string(d.purse)))
		u(ref(d.purseAccount))
	}
	u(uint64(len(r.refused)))
	for _, f := range r.refused {
		u(uint64(f.line))
		u(ref(string(f.reason)))
		u(ref(f.detail))
	}
	version := byte(2)
	if len(r.aside) > 0 {
		version = answerVersion
		u(uint64(len(r.aside)))
		for _, line := range r.aside {
			u(uint64(line))
		}
	}
	out := binary.AppendUvarint([]byte{0, version}, uint64(len(names)))
	for _, n := range names {
		out = binary.AppendUvarint(out, uint64(len(n)))
		out = append(out, n...)
	}
	return append(out, b...)
}

type unpacker struct {
	b   []byte
	bad bool
}

func (p *unpacker) u() uint64 {
	v, n := binary.Uvarint(p.b)
	if n <= 0 {
		p.bad = true
		return 0
	}
	p.b = p.b[n:]
	return v
}

func (p *unpacker) i() int64 {
	v, n := binary.Varint(p.b)
	if n <= 0 {
		p.bad = true
		return 0
	}
	p.b = p.b[n:]
	return v
}

func (p *unpacker) bytes(n uint64) string {
	if n > uint64(len(p.b)) {
		p.bad = true
		return ""
	}
	s := string(p.b[:n])
	p.b = p.b[n:]
	return s
}

// decodeRated is the inverse of encode, of every version.
func decodeRated(b []byte) (*rated, error) {
	version := byte(1)
	if len(b) > 1 && b[0] == 0 {
		if version = b[1]; version > answerVersion {
			return nil, errNewer
		}
		b = b[2:]
	}
	p := &unpacker{b: b}
	names := make([]string, 0, 16)
	for n := p.u(); n > 0 && !p.bad; n-- {
		names = append(names, p.bytes(p.u()))
	}
	name := func() string {
		i := p.u()
		if i >= uint64(len(names)) {
			p.bad = true
			return ""
		}
		return names[i]
	}
	r := &rated{}
	for n := p.u(); n > 0 && !p.bad; n-- {
		var d decision
		d.line, d.group = int(p.u()), int(p.u())
		d.charge.Amount, d.charge.Fee = metering.Micros(p.i()), metering.Micros(p.i())
		d.charge.Units, d.charge.Billed = metering.Quantity(p.i()), metering.Quantity(p.i())
		d.charge.Unit, d.charge.Plan = name(), name()
		d.charge.Version, d.charge.Rule = int(p.u()), int(p.u())
		d.purse, d.purseAccount = metering.Purse(name()), name()
		r.decisions = append(r.decisions, d)
	}
	for n := p.u(); n > 0 && !p.bad; n-- {
		r.refused = append(r.refused, refusal{line: int(p.u()), reason: metering.Reason(name()), detail: name()})
	}
	if version >= 3 {
		for n := p.u(); n > 0 && !p.bad; n-- {
			r.aside = append(r.aside, int(p.u()))
		}
	}
	if p.bad {
		return nil, errAnswer
	}
	return r, nil
}
