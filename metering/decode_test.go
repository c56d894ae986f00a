package metering

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// with is a valid usage record with one field replaced, or left out for "".
func with(field, value string) string {
	fields := map[string]string{
		"id": `"m1"`, "account_id": `"acme"`, "channel": `"sms"`, "occurred_at": `"2026-11-05T10:00:00Z"`,
	}
	if value == "" {
		delete(fields, field)
	} else {
		fields[field] = value
	}
	parts := make([]string, 0, len(fields))
	for _, k := range slices.Sorted(maps.Keys(fields)) {
		parts = append(parts, fmt.Sprintf("%q:%s", k, fields[k]))
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// decodeCases are lines and the reason for which they are refused, empty when
// they are taken.
func decodeCases() map[string]Reason {
	const m, o = ReasonMalformed, ReasonOverflow
	status := `{"id":"s1","kind":"status","account_id":"a","refers_to":"m1","status":"failed","occurred_at":"2026-11-05T10:00:00Z"}`
	refund := `{"id":"r1","kind":"refund","account_id":"a","refers_to":"m1","occurred_at":"2026-11-05T10:00:00Z"}`
	money := func(amount string) string {
		return strings.Replace(with("amount", amount), "{", `{"currency":"EUR",`, 1)
	}
	refunded := func(amount string) string {
		return strings.Replace(refund, "{", `{"amount":`+amount+`,`, 1)
	}
	cases := map[string]Reason{
		benchLine: "", status: "", refund: "",
		"":              m,
		"{}":            m,
		"null":          m,
		"[]":            m,
		"{":             m,
		`{"id":"a"`:     m,
		`{"id":"a",}`:   m,
		benchLine + "x": m, benchLine + " \r\n\t": "", "\ufeff" + benchLine: m,
		strings.Replace(status, `"status":"failed",`, "", 1):             m,
		strings.Replace(status, `"refers_to":"m1",`, "", 1):              m,
		strings.Replace(refund, `"refers_to":"m1",`, "", 1):              m,
		strings.Replace(refund, `"refers_to":"m1"`, `"refers_to":""`, 1): m,
		money(`"0.01"`): "", money(`0`): "", money(`"-0"`): "", money(`-0.0`): "", money(`1e-9`): "",
		money(`"-1"`): m, money(`-1e-30`): m, money(`"1,5"`): m, money(`""`): m, money(`" 1"`): m, money(`"+1"`): m,
		money(`".5"`): m, money(`"5."`): m, money(`"NaN"`): m, money(`true`): m, money(`[1]`): m, money(`01`): m,
		money(`1e400`): o, money(`"1000000000000"`): o, money(`999999999999.9999999`): o, money(`999999999999.999999`): "",
		money(`0e400`): "", money(`1e-99999999999999999999`): "", money(`1e99999999999999999999`): o,
		with("amount", `1`): m,
		refunded(`1`):       "", refunded(`0`): m, refunded(`"-0"`): m, refunded(`1e-9`): m, refunded(`-1`): m, refunded(`1e400`): o,
		with("units", `2.5`): "", with("units", `"2.500000000"`): "", with("units", `25e-1`): "", with("units", `1e3`): "",
		with("units", `0.0000001`): m, with("units", `1e12`): m, with("units", `-1`): m, with("units", `-0`): "",
		with("units", `1e400`): m, with("units", `"1e-6"`): "", with("units", `1e-7`): m, with("units", `null`): "",
		with("unit", `"Segment"`): m, with("unit", `"page"`): "",
		with("id", `null`): m, with("id", `""`): m, with("id", `1`): m, with("id", ""): m,
		with("id", `"`+strings.Repeat("x", 128)+`"`): "", with("id", `"`+strings.Repeat("x", 129)+`"`): m,
		with("account_id", `"a b"`): m, with("account_id", `"`+strings.Repeat("x", 65)+`"`): m, with("account_id", `"A.b_c-9"`): "",
		with("channel", ""): m, with("channel", `"SMS"`): m, with("channel", `"9"`): m, with("channel", `"a-b_9"`): "",
		with("kind", `"usage"`): "", with("kind", `"adjustment"`): m, with("kind", `null`): "", with("kind", `"Usage"`): m,
		with("direction", `"inbound"`): "", with("direction", `"in"`): m,
		with("status", `"Sent"`): m, with("status", `"read"`): "",
		with("error_code", `"`+strings.Repeat("x", 65)+`"`): m, with("to", `"`+strings.Repeat("x", 256)+`"`): "",
		with("from", `"`+strings.Repeat("x", 257)+`"`): m,
		with("country", `"it"`):                        m, with("country", `"IT"`): "", with("country", `""`): m,
		with("network", `"222-10"`): "", with("network", `"22210"`): "", with("network", `"310-410"`): "",
		with("network", `22210`): m, with("network", `"2221"`): m, with("network", `"22-210"`): m, with("network", `"222-1000"`): m,
		with("currency", `"EUR"`): "", with("currency", `"eur"`): m,
		with("tags", `{}`): "", with("tags", `{"b":"2","a":"1"}`): "", with("tags", `{"a":"1","a":"1"}`): m,
		with("tags", `{"a":1}`): m, with("tags", `{"":"1"}`): m, with("tags", `{"a":null}`): m, with("tags", `[]`): m, with("tags", `{"a":"1",}`): m,
		with("x", `{"a":[1,2,{"b":null}],"c":"\u00e9"}`): "", with("x", `{"a":}`): m, with("x", `[1,]`): m, with("x", `tru`): m,
		with("x", strings.Repeat("[", 9999)+strings.Repeat("]", 9999)):   "",
		with("x", strings.Repeat("[", 10000)+strings.Repeat("]", 10000)): m,
		with("to", `"\ud83d\ude00"`):                                     "", with("to", `"\ud83d"`): m, with("to", `"\ude00\ud83d"`): m, with("to", `"\x"`): m,
		with("to", "\"\x01\""): m, with("to", "\"\xff\""): m, with("to", `"\"\\\/\b\f\n\r\t\u0041"`): "",
		strings.Replace(benchLine, `"id"`, `"\u0069d"`, 1):    "",
		strings.Replace(benchLine, `{`, `{"\u0069d":"z",`, 1): m,
		strings.Replace(benchLine, `{`, `{"q":1,"q":1,`, 1):   m,
		`{"x":"` + strings.Repeat("y", lineMax) + `"}`:        m,
	}
	for at, reason := range map[string]Reason{
		"2026-11-05T10:00:00+05:45": "", "2026-11-05t10:00:00.123456z": "", "2024-02-29T00:00:00-00:00": "", "1970-01-01T00:00:00Z": "",
		"2261-12-31T23:59:59.999Z": "",
		"2026-11-05T10:00:00":      m, "2026-11-05": m, "2026-11-05 10:00:00Z": m, "2026-02-29T00:00:00Z": m, "2026-13-01T00:00:00Z": m,
		"2026-11-05T24:00:00Z": m, "2026-11-05T23:59:60Z": m, "2026-11-05T10:00:00+24:00": m, "2026-11-05T10:00:00+0100": m,
		"2026-11-05T10:00:00.Z": m, "1969-12-31T23:59:59Z": m, "1970-01-01T00:00:00+01:00": m, "2262-01-01T00:00:00Z": m,
		"2261-12-31T23:59:59-01:00": m, "2026-11-05T10:00:00,5Z": m, "2026-11-05T10:00:00.5": m, "-026-11-05T10:00:00Z": m,
	} {
		cases[with("occurred_at", `"`+at+`"`)] = reason
	}
	return cases
}

func TestDecodeRecord(t *testing.T) {
	t.Parallel()
	for line, want := range decodeCases() {
		var r Record
		ref := DecodeRecord([]byte(line), &r)
		got := Reason("")
		if ref != nil {
			got = ref.Reason
		}
		if got != want {
			t.Errorf("%.300s\n got %v, want %q", line, ref, want)
		}
	}
}

func TestDecodeRecordFields(t *testing.T) {
	t.Parallel()
	line := `{"id":"m1","account_id":"acme","channel":"voice","direction":"inbound","units":"61.5","unit":"second",
		"amount":"0.0000005","currency":"EUR","network":"222-10","occurred_at":"2026-11-05T10:00:00.9999+01:00",
		"tags":{"b":"2","a":"\u00e9"},"extra":1,"kind":null}`
	var r Record
	if ref := DecodeRecord([]byte(line), &r); ref != nil {
		t.Fatal(ref)
	}
	want := Record{
		ID: "m1", Kind: KindUsage, AccountID: "acme", Channel: "voice", Direction: Inbound, Network: "22210",
		Units: Some(Quantity(61_500_000)), Unit: "second", Amount: Some(Micros(0)), Currency: "EUR",
		OccurredAt: time.Date(2026, 11, 5, 9, 0, 0, 999_000_000, time.UTC),
		Tags:       []Tag{{"a", "é"}, {"b", "2"}}, Unknown: []string{"extra"},
	}
	if fmt.Sprint(r) != fmt.Sprint(want) {
		t.Errorf("got  %+v\nwant %+v", r, want)
	}
}

// TestDecodeRecordManyUnknown checks that a double unknown key is found however
// many there are.
func TestDecodeRecordManyUnknown(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&b, `"u%d":0,`, i)
	}
	var r Record
	line := strings.Replace(benchLine, "{", "{"+b.String(), 1)
	if ref := DecodeRecord([]byte(line), &r); ref != nil || len(r.Unknown) != 2000 {
		t.Errorf("%v, %d unknown", ref, len(r.Unknown))
	}
	line = strings.Replace(line, "{", `{"u1999":0,`, 1)
	if ref := DecodeRecord([]byte(line), &r); ref == nil {
		t.Error("a double key was taken")
	}
}

func FuzzDecodeRecord(f *testing.F) {
	for line := range decodeCases() {
		if len(line) < 1000 {
			f.Add([]byte(line))
		}
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		var r Record
		ref := DecodeRecord(bytes.Clone(line), &r)
		got := Reason("")
		if ref != nil {
			got = ref.Reason
		}
		want, err := refDecode(line)
		if got != want {
			t.Fatalf("%q: got %v, reference %q %v", line, ref, want, err)
		}
		if ref != nil {
			return
		}
		again := AppendRecord(nil, &r)
		var r2 Record
		if ref := DecodeRecord(again, &r2); ref != nil {
			t.Fatalf("%q became %q: %v", line, again, ref)
		}
		r.Unknown = nil
		if fmt.Sprint(r) != fmt.Sprint(r2) || r.ContentHash() != r2.ContentHash() {
			t.Fatalf("%+v became %+v", r, r2)
		}
	})
}

// word draws a lower-case word.
func word() *rapid.Generator[string] { return rapid.StringMatching(`[a-z][a-z0-9_-]{0,31}`) }

// genRecord draws a valid record.
func genRecord(t *rapid.T) Record {
	optional := func(g *rapid.Generator[string], label string) string {
		return rapid.OneOf(rapid.Just(""), g).Draw(t, label)
	}
	limited := func(lo, hi int) *rapid.Generator[string] {
		return rapid.StringN(lo, -1, hi)
	}
	r := Record{
		ID: limited(1, 128).Draw(t, "id"), Kind: rapid.SampledFrom([]Kind{KindUsage, KindStatus, KindRefund}).Draw(t, "kind"),
		AccountID: rapid.StringMatching(`[A-Za-z0-9._-]{1,64}`).Draw(t, "account"),
		Channel:   word().Draw(t, "channel"),
		Direction: rapid.SampledFrom([]string{Inbound, Outbound}).Draw(t, "direction"),
		Status:    word().Draw(t, "status"),
		ErrorCode: optional(limited(1, 64), "error"), To: optional(limited(1, 256), "to"), From: optional(limited(1, 256), "from"),
		Country: optional(rapid.StringMatching(`[A-Z]{2}`), "country"), Network: optional(rapid.StringMatching(`[0-9]{5,6}`), "network"),
		Category: optional(word(), "category"), Unit: optional(word(), "unit"), Currency: "EUR",
		RefersTo:   limited(1, 128).Draw(t, "refers"),
		OccurredAt: time.UnixMilli(rapid.Int64Range(0, 9_214_646_399_999).Draw(t, "at")).UTC(),
	}
	if rapid.Bool().Draw(t, "has units") {
		r.Units = Some(Quantity(rapid.Int64Range(0, int64(QuantityMax)).Draw(t, "units")))
	}
	if rapid.Bool().Draw(t, "has amount") {
		r.Amount = Some(Micros(rapid.Int64Range(1, int64(MicrosMax)).Draw(t, "amount")))
	}
	tags := rapid.MapOfN(limited(1, 64), limited(0, 256), 0, 16).Draw(t, "tags")
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		r.Tags = append(r.Tags, Tag{k, tags[k]})
	}
	return r
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := genRecord(t)
		line := AppendRecord(nil, &r)
		var got Record
		if ref := DecodeRecord(line, &got); ref != nil {
			t.Fatalf("%s: %v", line, ref)
		}
		if fmt.Sprint(got) != fmt.Sprint(r) {
			t.Fatalf("%s\n got %+v\nwant %+v", line, got, r)
		}
		if !json.Valid(line) || got.ContentHash() != r.ContentHash() {
			t.Fatalf("%s: not JSON, or another hash", line)
		}
	})
}

func TestContentHash(t *testing.T) {
	t.Parallel()
	base := func() Record {
		return Record{ID: "m", Kind: KindUsage, AccountID: "a", Channel: "sms", Direction: Outbound, Tags: []Tag{{"k", "v"}}}
	}
	for name, c := range map[string]struct {
		change func(*Record)
		same   bool
	}{
		"time":            {func(r *Record) { r.OccurredAt = time.Unix(1, 0) }, true},
		"status":          {func(r *Record) { r.Status = "failed" }, true},
		"error":           {func(r *Record) { r.ErrorCode = "1" }, true},
		"derived country": {func(r *Record) { r.Country, r.Derived = "IT", true }, true},
		"unknown":         {func(r *Record) { r.Unknown = []string{"x"} }, true},
		"country":         {func(r *Record) { r.Country = "IT" }, false},
		"units":           {func(r *Record) { r.Units = Units(1) }, false},
		"zero units":      {func(r *Record) { r.Units = Units(0) }, false},
		"amount":          {func(r *Record) { r.Amount = Some(Micros(0)) }, false},
		"shifted":         {func(r *Record) { r.ID, r.Channel = "ms", "ms" }, false},
		"tag":             {func(r *Record) { r.Tags = []Tag{{"kv", ""}} }, false},
		"to":              {func(r *Record) { r.To = "x" }, false},
		"to as from":      {func(r *Record) { r.From = "x" }, false},
	} {
		a, b := base(), base()
		c.change(&b)
		if (a.ContentHash() == b.ContentHash()) != c.same {
			t.Errorf("%s: same is %v", name, !c.same)
		}
	}
	a := Record{ID: "s", Kind: KindStatus, AccountID: "a", RefersTo: "m", Status: "sent"}
	b := a
	b.Status = "failed"
	if a.ContentHash() == b.ContentHash() {
		t.Error("a status is the content of its record")
	}
}

// TestContentHashStable pins the form: a stored hash must keep its meaning.
func TestContentHashStable(t *testing.T) {
	t.Parallel()
	var r Record
	if ref := DecodeRecord([]byte(benchLine), &r); ref != nil {
		t.Fatal(ref)
	}
	const want = 0x2917b4f3e40f9249
	if got := r.ContentHash(); got != want {
		t.Errorf("got %#x, want %#x", got, uint64(want))
	}
}
