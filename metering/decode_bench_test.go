package metering

import "testing"

const benchLine = `{"id":"SM3f9a0c2e7b1d4a6f","account_id":"acme-marketing","channel":"sms","status":"sent","to":"+393331234567","from":"Acme","country":"IT","network":"22210","units":2,"unit":"segment","occurred_at":"2026-11-05T10:00:00.250+01:00"}`

func BenchmarkDecodeRecord(b *testing.B) {
	line := []byte(benchLine)
	var r Record
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	for b.Loop() {
		if ref := DecodeRecord(line, &r); ref != nil {
			b.Fatal(ref)
		}
	}
}

func BenchmarkAppendRecord(b *testing.B) {
	var r Record
	if ref := DecodeRecord([]byte(benchLine), &r); ref != nil {
		b.Fatal(ref)
	}
	buf := make([]byte, 0, 512)
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendRecord(buf[:0], &r)
	}
}

func BenchmarkContentHash(b *testing.B) {
	var r Record
	if ref := DecodeRecord([]byte(benchLine), &r); ref != nil {
		b.Fatal(ref)
	}
	b.ReportAllocs()
	for b.Loop() {
		r.ContentHash()
	}
}
