package importer

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/unicode"

	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering"
)

var update = flag.Bool("update", false, "write the golden files anew")

func read(t *testing.T, text string, o Options) (string, Stats) {
	t.Helper()
	var out strings.Builder
	stats, err := Read(strings.NewReader(text), o, func(line []byte) error {
		out.Write(append(line, '\n'))
		return nil
	})
	require.NoError(t, err)
	return out.String(), stats
}

func file(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	require.NoError(t, err)
	return string(text)
}

func TestLogsBecomeRecords(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		log   string
		o     Options
		stats Stats
	}{
		{"twilio.csv", Options{From: TwilioCSV, Accounts: map[string]string{"AC01": "acme-marketing"}}, Stats{Messages: 8, Unreadable: 1, Pending: 1, PendingIDs: []string{"SM0007"}}},
		{"twilio.csv", Options{From: TwilioCSV, Account: "acme", Logged: true}, Stats{Messages: 8, Unreadable: 1, Pending: 2, PendingIDs: []string{"MM0006", "SM0007"}}},
		{"twilio.json", Options{From: TwilioJSON}, Stats{Messages: 4, Unreadable: 1}},
		{"twilio.json", Options{From: TwilioJSON, Logged: true}, Stats{Messages: 4, Unreadable: 1, Unpriced: 1}},
		{"vonage.csv", Options{From: VonageReports}, Stats{Messages: 4}},
		{"vonage.csv", Options{From: VonageReports, Logged: true}, Stats{Messages: 4, Pending: 1, PendingIDs: []string{"0A0000002"}}},
		{"vonage-voice.json", Options{From: VonageReports, Logged: true}, Stats{Messages: 2}},
		{"kaleyra.csv", Options{From: KaleyraCSV, Account: "india"}, Stats{Messages: 4}},
		{"kaleyra.csv", Options{From: KaleyraCSV, Account: "india", Logged: true}, Stats{Messages: 4, Unpriced: 1}},
	} {
		name := c.log + ".plan.jsonl"
		if c.o.Logged {
			name = c.log + ".logged.jsonl"
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, stats := read(t, file(t, c.log), c.o)
			require.Equal(t, c.stats, stats)
			if *update {
				require.NoError(t, os.WriteFile("testdata/"+name, []byte(got), 0o600))
			}
			require.Equal(t, file(t, name), got)
			valid := int64(0)
			for line := range strings.Lines(got) {
				var r metering.Record
				if metering.DecodeRecord([]byte(strings.TrimSuffix(line, "\n")), &r) == nil {
					require.Empty(t, r.Unknown)
					valid++
				}
			}
			refunds := int64(strings.Count(got, `"kind":"refund"`))
			require.Equal(t, stats.Messages-stats.Unreadable-stats.Pending+refunds, valid, "each is a record")
		})
	}
}

func TestColumnsMayHaveOtherNames(t *testing.T) {
	t.Parallel()
	log := "Ref,When,Who,How,Kosten\n1,2026-11-02T10:00:00Z,919833300001,Delivered,0.5\n"
	o := Options{From: KaleyraCSV, Account: "a", Columns: map[string]string{"id": "ref", "date": "When", "mobile": "Who", "status": "How", "price": "Kosten"}}
	got, _ := read(t, log, o)
	require.Equal(t, `{"id":"1","account_id":"a","channel":"sms","direction":"outbound","status":"delivered","to":"+919833300001","units":"1","unit":"segment","occurred_at":"2026-11-02T10:00:00Z"}`+"\n", got)
}

func TestWhatIsNotSuchALogIsRefused(t *testing.T) {
	t.Parallel()
	for text, c := range map[string]struct {
		o    Options
		want string
	}{
		"x":                        {Options{From: "sendgrid"}, "unknown platform"},
		"":                         {Options{From: TwilioCSV}, "it is empty"},
		" \n ":                     {Options{From: TwilioJSON}, "it is empty"},
		"{}":                       {Options{From: TwilioCSV}, "it is JSON, twilio-csv is CSV"},
		"From,To\n":                {Options{From: TwilioJSON}, "it isn't JSON"},
		"From,To,AccountSid\n":     {Options{From: TwilioCSV}, "give --column"},
		"MESSAGE_ID,CREATED\n":     {Options{From: KaleyraCSV}, "give --account"},
		`{"messages": 3}`:          {Options{From: TwilioJSON}, "messages isn't a list"},
		`[{"sid":"1"}, {"sid":`:    {Options{From: TwilioJSON}, "not such a log: value 1, byte"},
		`"text"`:                   {Options{From: TwilioJSON}, "it isn't JSON"},
		"Sid,AccountSid,SentDate,": {Options{From: TwilioCSV, Columns: map[string]string{"colour": "Red"}}, "isn't a field of such a log"},
	} {
		_, err := Read(strings.NewReader(text), c.o, func([]byte) error { return nil })
		require.ErrorContains(t, err, c.want, "%q", text)
	}
}

// endless is a log of many messages that is nowhere whole.
type endless struct {
	header string
	n, max int
	rest   []byte
}

func (e *endless) Read(b []byte) (int, error) {
	for len(e.rest) == 0 {
		switch {
		case e.n == 0:
			e.rest = []byte(e.header)
		case e.n > e.max:
			return 0, os.ErrDeadlineExceeded // a read that fails
		default:
			e.rest = fmt.Appendf(nil, "+15005550006,+393331234567,%s,delivered,2026-11-02T10:15:00Z,2010-04-01,1,0,AC01,SM%d,outbound-api,-0.0075,USD\n", strings.Repeat("text ", 60), e.n)
		}
		e.n++
	}
	n := copy(b, e.rest)
	e.rest = e.rest[n:]
	return n, nil
}

// TestALogIsNeverWholeInMemory runs by itself: it measures the whole process.
func TestALogIsNeverWholeInMemory(t *testing.T) {
	header, _, _ := strings.Cut(file(t, "twilio.csv"), "\n")
	e := &endless{header: header + "\n", max: 200_000} // about 80 MB
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	lines, highest := 0, uint64(0)
	stats, err := Read(e, Options{From: TwilioCSV}, func(line []byte) error {
		if lines++; lines%20_000 == 0 {
			runtime.GC()
			runtime.ReadMemStats(&after)
			highest = max(highest, after.HeapInuse)
		}
		return nil
	})
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.EqualValues(t, 200_000, stats.Messages)
	require.Less(t, highest, before.HeapInuse+32<<20)
}

func FuzzRead(f *testing.F) {
	for _, name := range []string{"twilio.csv", "twilio.json", "vonage.csv", "vonage-voice.json", "kaleyra.csv"} {
		text, err := os.ReadFile("testdata/" + name)
		require.NoError(f, err)
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, from := range []string{TwilioCSV, TwilioJSON, VonageReports, KaleyraCSV} {
			lines := int64(0)
			stats, _ := Read(bytes.NewReader(text), Options{From: from, Account: "a", Logged: true}, func(line []byte) error {
				lines++
				require.NotEmpty(t, line)
				return nil
			})
			require.GreaterOrEqual(t, lines, stats.Messages-stats.Pending, "none is lost")
		}
	})
}

const vonageWhatsApp = "account_id,message_id,direction,from,to,country,provider,date_received,status,error_code,currency,total_price\n" +
	"ab12cd34,m-1,outbound,447700900010,33612000001,FR,whatsapp,2026-11-02T10:15:30+0000,delivered,,EUR,0.06\n" +
	"ab12cd34,m-2,outbound,447700900010,33612000001,FR,viber_service_msg,2026-11-02T10:16:30+0000,delivered,,EUR,0.04\n" +
	"ab12cd34,m-3,outbound,447700900010,33612000001,FR,sms,2026-11-02T10:17:30+0000,delivered,,EUR,0.05\n" +
	"ab12cd34,m-4,outbound,447700900010,33612000001,FR,,2026-11-02T10:18:30+0000,delivered,,EUR,0.05\n"

func TestTheProductOfAReportDecidesItsChannel(t *testing.T) {
	t.Parallel()
	got, stats := read(t, vonageWhatsApp, Options{From: VonageReports, Account: "a"})
	require.EqualValues(t, 1, stats.Unreadable, "one names no provider")
	for _, want := range []string{`"channel":"whatsapp","direction":"outbound","status":"delivered","to":"+33612000001","from":"+447700900010","country":"FR","units":"1","unit":"message"`, `"channel":"viber"`, `"channel":"sms"`} {
		require.Contains(t, got, want)
	}
	got, _ = read(t, `{"product":"MESSAGES","records":[{"account_id":"a","message_id":"m","provider":"whatsapp","date_received":"2026-11-02T10:15:30+0000","status":"read"}]}`, Options{From: VonageReports})
	require.Contains(t, got, `"channel":"whatsapp"`)
	got, stats = read(t, `{"product":"VOICE-CALL","records":[{"account_id":"a","call_id":"c","date_start":"2026-11-02T10:15:30+0000","duration":"12","status":"answered"}]}`, Options{From: VonageReports})
	require.Zero(t, stats.Unreadable)
	require.Contains(t, got, `"channel":"voice"`)
	got, stats = read(t, `[{"product":"VERIFY-V2","account_id":"a","id":"v","date":"2026-11-02T10:15:30+0000","status":"ok"}]`, Options{From: VonageReports})
	require.EqualValues(t, 1, stats.Unreadable, got)
}

func TestAProductWithoutAMappingIsRefusedByName(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"account_id,call_id,direction,from,to,call_date_start,date_start,duration,status,currency,total_price\na,c,outbound,1,2,x,2026-11-02T10:15:30+0000,12,ok,EUR,0.012\n": `"ASR"`,
		"account_id,call_id,from,to,date_start,duration,status\na,c,1,2,2026-11-02T10:15:30+0000,12,ok\n":                                                                     "add a column product",
		`{"request_id":"r","product":"ASR","records":[{"account_id":"a","call_id":"c","date_start":"2026-11-02T10:15:30+0000","duration":12,"status":"ok"}]}`:                 `"ASR"`,
	} {
		_, err := Read(strings.NewReader(text), Options{From: VonageReports, Account: "a"}, func([]byte) error {
			t.Error("taken for another product")
			return nil
		})
		require.ErrorIs(t, err, ErrLog)
		require.ErrorContains(t, err, want)
	}
}

func TestAMessageOnItsWayIsLeftOutUntilItIsFinal(t *testing.T) {
	t.Parallel()
	early := `[{"sid":"SM1","account_sid":"a","date_created":"2026-11-02T10:00:00Z","date_sent":null,"to":"+15005550009","status":"accepted","num_segments":"0","direction":"outbound-api","price":null,"price_unit":null},
	{"sid":"SM2","account_sid":"a","date_created":"2026-11-02T10:00:00Z","date_sent":"2026-11-02T10:00:01Z","from":"+15005550006","to":"+15005550009","status":"sent","num_segments":"1","direction":"outbound-api","price":null,"price_unit":"USD"},
	{"sid":"SM3","account_sid":"a","date_created":"2026-11-02T10:00:00Z","date_sent":"2026-11-02T10:00:01Z","from":"+15005550006","to":"+15005550009","status":"sent","num_segments":"1","direction":"outbound-api","price":"-0.01","price_unit":"USD"}]`
	got, stats := read(t, early, Options{From: TwilioJSON, Logged: true})
	require.Equal(t, Stats{Messages: 3, Pending: 2, PendingIDs: []string{"SM1", "SM2"}}, stats)
	require.Equal(t, 1, strings.Count(got, "\n"), "the one that has its price")

	got, stats = read(t, early, Options{From: TwilioJSON})
	require.Equal(t, []string{"SM1"}, stats.PendingIDs, "once sent, segments are final, which is all that a plan asks")
	require.Equal(t, 2, strings.Count(got, "\n"))

	late := strings.NewReplacer(`"accepted"`, `"delivered"`, `"sent"`, `"delivered"`, `"price":null`, `"price":"-0.0079"`, `"price_unit":null`, `"price_unit":"USD"`, `"date_sent":null`, `"date_sent":"2026-11-02T10:00:02Z"`).Replace(early)
	got, stats = read(t, late, Options{From: TwilioJSON, Logged: true})
	require.Zero(t, stats.Pending)
	require.Equal(t, 2, strings.Count(got, `"amount":"0.0079","currency":"USD"`))
}

// TestABrokenLineOfJSONCostsNoOther: as where a bulk export was cut off and appended to.
func TestABrokenLineOfJSONCostsNoOther(t *testing.T) {
	t.Parallel()
	line := func(id string) string {
		return `{"account_sid":"a","to":"+15005550009","from":"+15005550006","sid":"` + id + `","direction":"outbound-api","date_sent":"2026-11-02T10:00:01Z","num_segments":2,"status":"delivered"}`
	}
	for _, broken := range []string{`{"account_sid":"a","sid":"SM`, `{"account_sid":"a","sid":`, "garbage", `"text"`, line("x") + line("y"), strings.Repeat("[", 20_000)} {
		got, stats := read(t, strings.Join([]string{line("1"), broken, "", line("2"), broken, line("3")}, "\n"), Options{From: TwilioJSON})
		require.Equal(t, Stats{Messages: 5, Unreadable: 2}, stats, broken)
		for _, id := range []string{"1", "2", "3"} {
			require.Contains(t, got, `"id":"`+id+`"`, broken)
		}
		raw, err := json.Marshal(broken)
		require.NoError(t, err)
		require.Contains(t, got, string(raw), "its bytes")
	}
	// Documents over many lines, then lines.
	got, stats := read(t, "[\n"+line("1")+",\n"+line("2")+"]\n{\"messages\":[\n"+line("3")+"\n]}\n"+line("4")+"\n{", Options{From: TwilioJSON})
	require.Equal(t, Stats{Messages: 5, Unreadable: 1}, stats, got)
	long := strings.Repeat(" ", 2*lineMax)
	_, err := Read(strings.NewReader(line("1")+"\n{"+long+"}"), Options{From: TwilioJSON}, func([]byte) error { return nil })
	require.ErrorIs(t, err, ErrLog)
	got, stats = read(t, "["+long+line("1")+"]\n"+line("2"), Options{From: TwilioJSON})
	require.Equal(t, Stats{Messages: 2}, stats, got)
}

func TestALogWithoutCurrencyNeedsOne(t *testing.T) {
	t.Parallel()
	// As Twilio's bulk export has it: no price_unit, and figures as numbers.
	log := `{"account_sid":"a","to":"+15005550009","num_media":0,"from":"+15005550006","sid":"SM1","direction":"outbound-api","date_sent":"2026-11-02T10:00:01Z","num_segments":2,"price":-0.015,"status":"delivered"}
{"account_sid":"a","to":"+15005550009","num_media":0,"from":"+15005550006","sid":"SM2","direction":"outbound-api","date_sent":"2026-11-02T10:00:01Z","num_segments":1,"price":null,"status":"failed"}`
	got, stats := read(t, log, Options{From: TwilioJSON, Logged: true, Currency: "USD"})
	require.Zero(t, stats.Unreadable)
	require.Contains(t, got, `"amount":"0.015","currency":"USD"`)
	require.Contains(t, got, `"amount":"0","currency":"USD"`)

	none := func([]byte) error {
		t.Error("sent without a currency")
		return nil
	}
	_, err := Read(strings.NewReader(log), Options{From: TwilioJSON, Logged: true}, none)
	require.ErrorIs(t, err, ErrCurrency)
	_, err = Read(strings.NewReader("Sid,AccountSid,SentDate,Direction,Status,Price\n"), Options{From: TwilioCSV, Logged: true}, none)
	require.ErrorIs(t, err, ErrCurrency)

	got, _ = read(t, file(t, "twilio.json"), Options{From: TwilioJSON, Logged: true, Currency: "EUR"})
	require.NotContains(t, got, "EUR", "the log's own stands")
}

// faultOf is the record of a message that couldn't be read; meterd quarantines it
// under the account that it names.
func faultOf(t *testing.T, line string) wire.Unreadable {
	t.Helper()
	var r metering.Record
	ref := metering.DecodeRecord([]byte(line), &r)
	require.NotNil(t, ref, "it isn't a record: %s", line)
	require.Equal(t, metering.ReasonMalformed, ref.Reason)
	var f wire.Unreadable
	require.NoError(t, json.Unmarshal([]byte(line), &f))
	require.Equal(t, f.What, wire.WhatIsUnreadable([]byte(line)), "what is said of it is taken")
	if metering.ValidID(f.AccountID) {
		require.Equal(t, f.AccountID, r.AccountID)
	}
	return f
}

func TestAnUnreadableRowCostsNoOther(t *testing.T) {
	t.Parallel()
	const header = "Body,Status,SentDate,NumSegments,AccountSid,Sid,Direction\n"
	row := func(body, id string) string {
		return body + ",delivered,2026-11-02T10:00:00Z,1,AC1," + id + ",outbound-api\n"
	}
	for name, c := range map[string]struct {
		bad  string
		want []wire.Unreadable
	}{
		"text with line breaks": {"\"Dear\n\"\"you\"\"\r\nall\",canceled,,0,AC1,SM2,outbound-api\n", []wire.Unreadable{{ID: "SM2", AccountID: "a", What: "date: missing, or not to be understood", Line: "\"Dear\n\"\"you\"\"\r\nall\",canceled,,0,AC1,SM2,outbound-api"}}},
		"cut off":               {"x,sent\r\n", []wire.Unreadable{{AccountID: "a", What: "date: missing, or not to be understood", Line: "x,sent"}}},
		"quote never closed":    {"\"x,sent\n", []wire.Unreadable{{AccountID: "a", What: "date: missing, or not to be understood", Line: "\"x,sent"}}},
		"not UTF-8":             {"\xff,sent\n", []wire.Unreadable{{AccountID: "a", What: "date: missing, or not to be understood", LineBytes: []byte("\xff,sent")}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := header + row("5\" screen", "SM1") + row("\"two\n\"\"lines\"\"\"", "SM3") + c.bad + row("one", "SM4") + strings.Repeat(row("more", "SM5"), 1500)
			got, stats := read(t, log, Options{From: TwilioCSV, Account: "a"})
			require.Equal(t, Stats{Messages: 1504, Unreadable: 1}, stats)
			var faults []wire.Unreadable
			for line := range strings.Lines(got) {
				if strings.Contains(line, `"unreadable"`) {
					faults = append(faults, faultOf(t, line))
				}
			}
			require.Equal(t, c.want, faults)
			again, _ := read(t, log, Options{From: TwilioCSV, Account: "a"})
			require.Equal(t, got, again, "the same bytes make one entry of the quarantine")
		})
	}
}

func TestAColumnThatIsThereTwiceIsRefusedByName(t *testing.T) {
	t.Parallel()
	_, err := Read(strings.NewReader("Sid,AccountSid,SentDate,Direction,Status,To,sid\n"), Options{From: TwilioCSV}, func([]byte) error { return nil })
	require.ErrorIs(t, err, ErrColumn)
	require.ErrorContains(t, err, `"Sid" is there twice`)
}

func TestNumbersThatASpreadsheetHasBeenAt(t *testing.T) {
	t.Parallel()
	const lost = "a spreadsheet has replaced its last digits by an exponent; take the log as it was downloaded"
	for to, want := range map[string]string{
		"393201234567":    "+393201234567",
		"393201234567.0":  "+393201234567",
		"393201234567,00": "+393201234567",
		"'+393201234567":  "+393201234567",
		"'393201234567":   "+393201234567",
		"00393201234567":  "+393201234567",
		"0320123456":      "0320123456",
		"39320.0":         "39320",
		"1E5CAFE":         "1E5CAFE",
		"ACME":            "ACME",
		"a12345678@b.com": "a12345678@b.com",
		// What people, telephones and consoles write.
		"39 320 1234567": "+393201234567", "39\u00a0320\u00a01234567": "+393201234567", "39-320-1234567": "+393201234567",
		"39.320.1234567": "+393201234567", "0039 320 1234567": "+393201234567", "+00393201234567": "+393201234567",
		"393,201,234,567": "+393201234567", `="393201234567"`: "+393201234567", "tel:+393201234567": "+393201234567",
		"\u200e+393201234567": "+393201234567", "393201234567\u202c": "+393201234567", "+39 (320) 123-4567": "+393201234567",
		"(0320) 123456": "0320123456",
	} {
		got, err := number("to", to)
		require.NoError(t, err)
		require.Equal(t, want, got, to)
	}
	for _, to := range []string{"+393201234567;ext=1", "393201234567.5", "393201234567,5", "+39320123456x", "39320123,4567"} {
		_, err := number("to", to)
		require.ErrorContains(t, err, "it isn't a phone number", to)
		from, err := number("from", to)
		require.NoError(t, err)
		require.Equal(t, to, from, "a sender may be anything")
	}
	for name, c := range map[string]struct{ to, from, id, account, field string }{
		"to":      {"3.9320E+11", "+15005550006", "SM1", "AC1", "to"},
		"comma":   {"3,9320E+11", "+15005550006", "SM1", "AC1", "to"},
		"whole":   {"4E+11", "+15005550006", "SM1", "AC1", "to"},
		"from":    {"+15005550006", "3.9320E+11", "SM1", "AC1", "from"},
		"channel": {"whatsapp:3.9320E+11", "+15005550006", "SM1", "AC1", "to"},
		"small":   {"3.9320e+11", "+15005550006", "SM1", "AC1", "to"},
		"no sign": {"3.9320E11", "+15005550006", "SM1", "AC1", "to"},
		"id":      {"+15005550006", "+15005550006", "4.5E+17", "AC1", "id"},
		"account": {"+15005550006", "+15005550006", "SM1", "4.5E+17", "account"},
	} {
		got, stats := read(t, "From,To,Status,SentDate,AccountSid,Sid,Direction\n"+strings.Join([]string{
			c.from, `"` + c.to + `"`, "delivered", "2026-11-02T10:00:00Z", c.account, c.id, "outbound-api",
		}, ",")+"\n", Options{From: TwilioCSV})
		require.EqualValues(t, 1, stats.Unreadable, name)
		require.Equal(t, c.field+": "+lost, faultOf(t, got).What, name)
	}
}

// TestWhetherAMessageWasRefunded is read as platforms and spreadsheets write it, and
// never guessed.
func TestWhetherAMessageWasRefunded(t *testing.T) {
	t.Parallel()
	text := file(t, "kaleyra.csv")
	header, _, _ := strings.Cut(text, "\n")
	row := func(refunded string) string {
		return "MT,K1,Italy,x,ACME,393201234567,x,Failed,x," + refunded + ",2026-11-02 10:00:00,10,1,x,x,0.04,EUR"
	}
	for refunded, want := range map[string]string{
		"1": "refund", "1.0": "refund", `"1,0"`: "refund", "TRUE": "refund", "Yes": "refund", "y": "refund",
		"": "none", "0": "none", "0.0": "none", "False": "none", "no": "none",
		"2": "unreadable", "partly": "unreadable",
	} {
		got, stats := read(t, header+"\n"+row(refunded)+"\n", Options{From: KaleyraCSV, Account: "a"})
		is := "none"
		switch {
		case stats.Unreadable > 0:
			is = "unreadable"
		case strings.Contains(got, `"kind":"refund"`):
			is = "refund"
		}
		require.Equal(t, want, is, "%q: %s", refunded, got)
	}
}

func TestFilesWithAByteOrderMark(t *testing.T) {
	t.Parallel()
	const text = "Sid,Body,Status,SentDate,AccountSid,Direction\nSM1,çà €,delivered,2026-11-02T10:00:00Z,AC1,outbound-api\n"
	want, _ := read(t, text, Options{From: TwilioCSV})
	for name, e := range map[string]encoding.Encoding{
		"UTF-8":    unicode.UTF8BOM,
		"UTF-16LE": unicode.UTF16(unicode.LittleEndian, unicode.UseBOM),
		"UTF-16BE": unicode.UTF16(unicode.BigEndian, unicode.UseBOM),
	} {
		encoded, err := e.NewEncoder().String(text)
		require.NoError(t, err)
		require.NotEqual(t, text, encoded)
		got, stats := read(t, encoded, Options{From: TwilioCSV})
		require.Zero(t, stats.Unreadable, name)
		require.Equal(t, want, got, name)
	}
	encoded, err := unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM).NewEncoder().String(text)
	require.NoError(t, err)
	_, err = Read(strings.NewReader(encoded), Options{From: TwilioCSV}, func([]byte) error { return nil })
	require.ErrorIs(t, err, ErrLog)
	require.ErrorContains(t, err, "save it as UTF-8")
}
