package metering

import (
	"crypto/sha256"
	"encoding/binary"
)

// ContentHash tells a duplicate from a conflict (docs/domain.md, Identity):
// the first eight bytes, big endian, of SHA-256 over what decides the charge.
// Left out are occurred_at, a derived country, unknown fields, and, except for
// kind status, whose content they are, status and error_code.
//
// Of a refund only its effect is content: the message, and the amount that it
// names, if any. A second one under another id is a duplicate, not a conflict.
//
// Units that are absent and units that are written out as 1 differ, since the
// default depends on the rule that is matched.
func (r *Record) ContentHash() uint64 {
	var space [1024]byte
	if r.Kind == KindRefund {
		b := append(space[:0], 2) // version of this form
		b = appendPart(b, r.AccountID)
		b = appendPart(b, r.RefersTo)
		return digest(appendOptional(b, r.Amount))
	}
	b := append(space[:0], 1) // version of this form
	b = appendPart(b, string(r.Kind))
	b = appendPart(b, r.AccountID)
	b = appendPart(b, r.ID)
	b = appendPart(b, r.Channel)
	b = appendPart(b, r.Direction)
	if r.Kind == KindStatus {
		b = appendPart(b, r.Status)
		b = appendPart(b, r.ErrorCode)
	}
	b = appendPart(b, r.To)
	b = appendPart(b, r.From)
	if r.Derived {
		b = appendPart(b, "")
	} else {
		b = appendPart(b, r.Country)
	}
	b = appendPart(b, r.Network)
	b = appendPart(b, r.Category)
	b = appendOptional(b, r.Units)
	b = appendPart(b, r.Unit)
	b = appendOptional(b, r.Amount)
	b = appendPart(b, r.Currency)
	b = appendPart(b, r.RefersTo)
	b = binary.AppendUvarint(b, uint64(len(r.Tags)))
	for _, t := range r.Tags {
		b = appendPart(b, t.Key)
		b = appendPart(b, t.Value)
	}
	return digest(b)
}

// digest is the first eight bytes of b's SHA-256, big endian.
func digest(b []byte) uint64 {
	sum := sha256.Sum256(b)
	return binary.BigEndian.Uint64(sum[:8])
}

// appendPart appends s behind its length, so that no two lists of parts give
// the same bytes.
func appendPart(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func appendOptional[T ~int64](b []byte, o Optional[T]) []byte {
	v, has := o.Get()
	if !has {
		return append(b, 0)
	}
	b = append(b, 1)
	return binary.BigEndian.AppendUint64(b, uint64(v))
}
