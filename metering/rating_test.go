package metering

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"pgregory.net/rapid"
)

var (
	testNow  = time.Date(2026, 11, 5, 10, 0, 0, 0, time.UTC)
	testPlan = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
)

// snapshotOf has one prepaid parent "acme" in EUR with the rules in force since
// 2026.
func snapshotOf(rules ...Rule) (*Snapshot, *Account) {
	s := NewSnapshot(1, []*Account{{
		ID: "acme", Module: Enterprise, Currency: "EUR", Mode: Prepaid, Source: SourceWallet,
		Zones: []ZoneFrom{{Zone: "Europe/Rome"}}, Plans: []PlanFrom{{testPlan, "std"}},
	}}, []*Plan{{ID: "std", Currency: "EUR", Versions: []PlanVersion{{EffectiveFrom: testPlan, Rules: rules}}}})
	return s, s.Accounts["acme"]
}

func usage(change func(*Record)) *Record {
	r := &Record{ID: "m", Kind: KindUsage, AccountID: "acme", Channel: "sms", Direction: Outbound, OccurredAt: testNow}
	if change != nil {
		change(r)
	}
	return r
}

func TestRateReasons(t *testing.T) {
	t.Parallel()
	s, a := snapshotOf(Rule{Channel: "sms", Unit: "segment", Price: 4_000_000}, Rule{Channel: "big", Unit: "segment", Price: 1e18})
	closed := *a
	at := testNow.Add(-time.Hour)
	closed.ClosedAt = &at
	closed.Channels = []ChannelsFrom{{testPlan, []string{"mms"}}}
	limited := *a
	limited.Channels = []ChannelsFrom{{testPlan, []string{"mms"}}, {testNow.Add(time.Minute), []string{"sms"}}}
	for name, c := range map[string]struct {
		a      *Account
		change func(*Record)
		want   Reason
	}{
		"ok":              {a, nil, ""},
		"unknown":         {nil, nil, ReasonUnknownAccount},
		"closed first":    {&closed, func(r *Record) { r.OccurredAt = testNow.Add(time.Hour) }, ReasonAccountClosed},
		"closed at":       {&closed, func(r *Record) { r.OccurredAt, r.Channel = at, "mms" }, ReasonAccountClosed},
		"before closing":  {&closed, func(r *Record) { r.OccurredAt = at.Add(-1) }, ReasonChannelNotEnabled},
		"future":          {a, func(r *Record) { r.OccurredAt = testNow.Add(5*time.Minute + 1) }, ReasonFromFuture},
		"nearly future":   {a, func(r *Record) { r.OccurredAt = testNow.Add(5 * time.Minute) }, ""},
		"channel":         {&limited, nil, ReasonChannelNotEnabled},
		"channel later":   {&limited, func(r *Record) { r.OccurredAt = testNow.Add(time.Minute) }, ""},
		"currency":        {a, func(r *Record) { r.Currency, r.Channel = "USD", "none" }, ReasonCurrencyMismatch},
		"rated, currency": {a, func(r *Record) { r.Currency, r.Amount = "USD", Some(Micros(0)) }, ReasonCurrencyMismatch},
		"before plan":     {a, func(r *Record) { r.OccurredAt = testPlan.Add(-1) }, ReasonNoPrice},
		"no rule":         {a, func(r *Record) { r.Channel, r.Unit = "voice", "x" }, ReasonNoPrice},
		"unit":            {a, func(r *Record) { r.Unit = "message" }, ReasonUnitMismatch},
		"time":            {a, func(r *Record) { r.Unit = "second" }, ReasonUnitMismatch},
		"overflow":        {a, func(r *Record) { r.Channel, r.Units = "big", Some(QuantityMax) }, ReasonOverflow},
	} {
		_, ref := Rate(s, c.a, usage(c.change), testNow)
		got := Reason("")
		if ref != nil {
			got = ref.Reason
		}
		if got != c.want {
			t.Errorf("%s: got %v, want %q", name, ref, c.want)
		}
	}
	for _, kind := range []Kind{KindStatus, KindRefund} {
		r := usage(func(r *Record) { r.Kind, r.Channel = kind, "" })
		if ref := Admit(&limited, r, testNow); ref != nil {
			t.Errorf("%s: %v", kind, ref)
		}
		if ref := Admit(&closed, r, testNow); ref == nil || ref.Reason != ReasonAccountClosed {
			t.Errorf("%s after closing: %v", kind, ref)
		}
	}
	auto := usage(func(r *Record) { r.Kind, r.Channel, r.RefersTo, r.ID = KindRefund, "", "m", AutoRefundID("m") })
	if ref := Admit(&closed, auto, testNow); ref != nil {
		t.Errorf("an automatic refund after closing: %v", ref)
	}
}

func TestRateAmounts(t *testing.T) {
	t.Parallel()
	voice := func(unit string, price int64, inc [2]int64) Rule {
		return Rule{Channel: "sms", Unit: unit, Price: price, Increment: inc}
	}
	for name, c := range map[string]struct {
		rule   Rule
		units  string // "" is absent
		unit   string
		amount string
		billed string
	}{
		"one":                {voice("segment", 4_120_000, [2]int64{}), "", "", "0.0412", "1"},
		"three":              {voice("segment", 4_120_000, [2]int64{}), "3", "segment", "0.1236", "3"},
		"60/60":              {voice("second", 30_000, [2]int64{60, 60}), "61", "", "0.036", "120"},
		"60/60 short":        {voice("second", 30_000, [2]int64{60, 60}), "0.000001", "", "0.018", "60"},
		"60/60 exact":        {voice("second", 30_000, [2]int64{60, 60}), "60", "", "0.018", "60"},
		"30/6":               {voice("second", 30_000, [2]int64{30, 6}), "31", "second", "0.0108", "36"},
		"30/6 in minutes":    {voice("second", 30_000, [2]int64{30, 6}), "0.51", "minute", "0.0108", "36"},
		"minute rule":        {voice("minute", 1_000_000, [2]int64{}), "1", "second", "0.000167", "0.016667"},
		"minute rule, exact": {voice("minute", 100_000_000, [2]int64{}), "3", "second", "0.05", "0.05"},
		"minute rule, 30/6":  {voice("minute", 100_000_000, [2]int64{30, 6}), "31", "second", "0.6", "0.6"},
		"minutes":            {voice("minute", 100_000_000, [2]int64{}), "1.5", "", "1.5", "1.5"},
		"zero":               {Rule{Unit: "segment", Price: 1e8, Minimum: 5, Fee: 7}, "0", "", "0", "0"},
		"zero, 60/60":        {voice("second", 1e8, [2]int64{60, 60}), "0", "", "0", "0"},
		"minimum":            {Rule{Unit: "segment", Price: 100, Minimum: 5_000, Fee: 7}, "1", "", "0.005007", "1"},
		"half down":          {Rule{Unit: "segment", Price: 50}, "1", "", "0", "1"},
		"half up":            {Rule{Unit: "segment", Price: 150}, "1", "", "0.000002", "1"},
		"half with fee":      {Rule{Unit: "segment", Price: 50, Fee: 1}, "1", "", "0.000002", "1"},
	} {
		s, a := snapshotOf(c.rule)
		r := usage(func(r *Record) {
			r.Unit = c.unit
			if c.units != "" {
				q, err := ParseMicros(c.units)
				if err != nil {
					t.Fatal(err)
				}
				r.Units = Some(Quantity(q))
			}
		})
		got, ref := Rate(s, a, r, testNow)
		if ref != nil || got.Amount.String() != c.amount || got.Billed.String() != c.billed {
			t.Errorf("%s: got %v for %v (%v), want %s for %s", name, got.Amount, got.Billed, ref, c.amount, c.billed)
		}
		if ref == nil && (got.Plan != "std" || got.Version != 1 || got.Rule != 1) {
			t.Errorf("%s: rated by %+v", name, got)
		}
	}
}

func TestRateOwnAmount(t *testing.T) {
	t.Parallel()
	s, a := snapshotOf(Rule{Unit: "segment", Fee: 9})
	r := usage(func(r *Record) { r.Amount, r.Currency = Some(Micros(12)), "EUR" })
	got, ref := Rate(s, a, r, testNow)
	want := Charge{Amount: 12, Units: scale, Unit: "message", Billed: scale}
	if ref != nil || got != want {
		t.Errorf("got %+v %v, want %+v", got, ref, want)
	}
	r.Amount, r.Units, r.Unit = Some(Micros(0)), Units(0), "page"
	got, ref = Rate(s, a, r, testNow)
	if want = (Charge{Unit: "page"}); ref != nil || got != want {
		t.Errorf("got %+v %v, want %+v", got, ref, want)
	}
}

func TestMatch(t *testing.T) {
	t.Parallel()
	rules := []Rule{
		0:  {Channel: "sms"},
		1:  {Channel: "sms", Country: "IT"},
		2:  {Channel: "sms", Country: "IT", Network: "22210"},
		3:  {Channel: "sms", Prefix: "39"},
		4:  {Channel: "sms", Prefix: "39333"},
		5:  {Channel: "sms", Country: "IT", Category: "otp"},
		6:  {Channel: "sms", Direction: Inbound},
		7:  {Channel: "sms", Country: "IT", Direction: Inbound},
		8:  {Channel: "sms", Category: "otp"},
		9:  {},
		10: {Country: "FR"},
		11: {Channel: "sms", Network: "22201", Category: "otp"},
	}
	if i, j, ok := AmbiguousPair(rules); ok {
		t.Fatal(i, j)
	}
	x := newRuleIndex(rules)
	for name, c := range map[string]struct {
		r    Record
		want int
	}{
		"none":                  {Record{Channel: "sms"}, 0},
		"country":               {Record{Channel: "sms", Country: "IT"}, 1},
		"network":               {Record{Channel: "sms", Country: "IT", Network: "22210", To: "+39333"}, 2},
		"network, not category": {Record{Channel: "sms", Country: "IT", Network: "22201", To: "+39333"}, 4},
		"network and category":  {Record{Channel: "sms", Network: "22201", Category: "otp", To: "+39333"}, 11},
		"other network":         {Record{Channel: "sms", Country: "IT", Network: "22299"}, 1},
		"prefix over category":  {Record{Channel: "sms", Country: "IT", Category: "otp", To: "+39 06"}, 3},
		"longest prefix":        {Record{Channel: "sms", To: "+39 (333)-1"}, 4},
		"without plus":          {Record{Channel: "sms", To: "39 (333) 123/4567", International: true}, 4},
		"national":              {Record{Channel: "sms", To: "3933312345"}, 0},
		"short code":            {Record{Channel: "sms", To: "39333"}, 0},
		"word":                  {Record{Channel: "sms", To: "39BANK"}, 0},
		"word after a plus":     {Record{Channel: "sms", To: "+39BANK"}, 0},
		"not a number":          {Record{Channel: "sms", To: "3x9"}, 0},
		"to when inbound":       {Record{Channel: "sms", Direction: Inbound, To: "+39"}, 6},
		"from when inbound":     {Record{Channel: "sms", Direction: Inbound, From: "+39"}, 3},
		"category":              {Record{Channel: "sms", Category: "otp"}, 8},
		"category over inbound": {Record{Channel: "sms", Category: "otp", Direction: Inbound}, 8},
		"country category":      {Record{Channel: "sms", Country: "IT", Category: "otp", Direction: Inbound}, 5},
		"country inbound":       {Record{Channel: "sms", Country: "IT", Direction: Inbound}, 7},
		"any channel":           {Record{Channel: "fax"}, 9},
		"any channel, country":  {Record{Channel: "sms", Country: "FR"}, 10},
		"other, country":        {Record{Channel: "fax", Country: "FR"}, 10},
	} {
		if got := x.match(&c.r); got != c.want {
			t.Errorf("%s: rule %d, want %d", name, got, c.want)
		}
	}
}

// TestMatchSlow compares the index with a plain search by the stated order.
func TestMatchSlow(t *testing.T) {
	t.Parallel()
	pick := func(t *rapid.T, of ...string) string { return rapid.SampledFrom(of).Draw(t, "x") }
	rapid.Check(t, func(t *rapid.T) {
		var rules []Rule
		for range rapid.IntRange(0, 12).Draw(t, "n") {
			r := Rule{
				Channel: pick(t, "", "sms", "mms"), Direction: pick(t, "", "", Inbound, Outbound), Country: pick(t, "", "IT", "FR"),
				Network: pick(t, "", "", "22210", "20801"), Prefix: pick(t, "", "", "3", "39", "33", "393"), Category: pick(t, "", "otp", "ad"),
			}
			if _, _, ok := AmbiguousPair(append(rules, r)); !ok {
				rules = append(rules, r)
			}
		}
		r := Record{
			Channel: pick(t, "sms", "mms", "fax"), Direction: pick(t, Inbound, Outbound), Country: pick(t, "", "IT", "FR"),
			Network: pick(t, "", "22210", "20801"), To: pick(t, "", "+393", "33", "x"), From: pick(t, "", "+3 9", "+34"), International: pick(t, "", "y") == "y", Category: pick(t, "", "otp", "ad"),
		}
		want, best := -1, ""
		for i, p := range rules {
			number := r.To
			if r.Direction == Inbound {
				number = r.From
			}
			if number = strings.ReplaceAll(number, " ", ""); !strings.HasPrefix(number, "+") && !r.International {
				number = ""
			}
			number = strings.TrimPrefix(number, "+")
			is := func(sel, v string) bool { return sel == "" || sel == v }
			if !is(p.Channel, r.Channel) || !is(p.Direction, r.Direction) || !is(p.Country, r.Country) ||
				!is(p.Network, r.Network) || !is(p.Category, r.Category) || !strings.HasPrefix(number, p.Prefix) {
				continue
			}
			class, value := p.class()
			length := 0
			if class == classPrefix {
				length = len(value)
			}
			rank := fmt.Sprintf("%d%02d%d%d%d", class, length, min(len(p.Category), 1), min(len(p.Direction), 1), min(len(p.Channel), 1))
			if rank == best {
				t.Fatalf("rules %d and %d are as specific: %+v", i, want, rules)
			}
			if rank > best {
				want, best = i, rank
			}
		}
		if got := newRuleIndex(rules).match(&r); got != want {
			t.Fatalf("%+v by %+v: rule %d, want %d", r, rules, got, want)
		}
	})
}

func TestAmbiguousPair(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		rules []Rule
		want  bool
	}{
		"twice":                 {[]Rule{{Channel: "sms"}, {Channel: "mms"}, {Channel: "sms"}}, true},
		"network beside":        {[]Rule{{Network: "22210"}, {Network: "22210", Country: "IT"}}, true},
		"networks of countries": {[]Rule{{Network: "22210", Country: "FR"}, {Network: "22210", Country: "IT"}}, false},
		"network, prefixes":     {[]Rule{{Network: "22210", Prefix: "39"}, {Network: "22210", Prefix: "393"}}, true},
		"network, others":       {[]Rule{{Network: "22210", Prefix: "39"}, {Network: "22210", Prefix: "33"}}, false},
		"category":              {[]Rule{{Category: "a"}, {Category: "b"}, {}}, false},
		"channel":               {[]Rule{{Channel: "sms"}, {}}, false},
		"direction":             {[]Rule{{Direction: Inbound}, {}, {Direction: Outbound}}, false},
	} {
		if _, _, ok := AmbiguousPair(c.rules); ok != c.want {
			t.Errorf("%s: %v", name, ok)
		}
	}
}

// TestPriceExact compares with arbitrary-precision decimals.
func TestPriceExact(t *testing.T) {
	t.Parallel()
	sixty := decimal.NewFromInt(60)
	rapid.Check(t, func(t *rapid.T) {
		magnitude := func(label string) int64 {
			return rapid.Int64Range(0, rapid.SampledFrom([]int64{10, 1e4, 1e9, int64(MicrosMax)}).Draw(t, label+" size")).Draw(t, label)
		}
		rule := Rule{
			Unit: rapid.SampledFrom([]string{"second", "minute", "segment"}).Draw(t, "unit"), Price: magnitude("price"),
			Minimum: Micros(magnitude("minimum")), Fee: Micros(magnitude("fee")),
		}
		r := usage(func(r *Record) { r.Units, r.Unit = Some(Quantity(magnitude("units"))), rule.Unit })
		if rule.Unit != "segment" {
			r.Unit = rapid.SampledFrom([]string{"second", "minute"}).Draw(t, "record's unit")
			if rapid.Bool().Draw(t, "increment") {
				rule.Increment = [2]int64{rapid.Int64Range(1, 90).Draw(t, "first"), rapid.Int64Range(1, 90).Draw(t, "next")}
			}
		}
		// Sixtieths of the rule's unit keep the quotient exact.
		den := decimal.NewFromInt(1)
		q := r.Units.Or(0).Decimal()
		if rule.Unit != "segment" {
			if r.Unit == "minute" {
				q = q.Mul(sixty)
			}
			if rule.Increment[0] > 0 && q.IsPositive() {
				first, next := decimal.NewFromInt(rule.Increment[0]), decimal.NewFromInt(rule.Increment[1])
				more := decimal.Max(q.Sub(first), decimal.Zero)
				steps, rem := more.QuoRem(next, 0)
				if !rem.IsZero() {
					steps = steps.Add(decimal.NewFromInt(1))
				}
				q = first.Add(steps.Mul(next))
			}
			if rule.Unit == "minute" {
				den = sixty
			}
		}
		price := decimal.New(rule.Price, -8)
		x := q.Mul(price) // den-ths
		if low := rule.Minimum.Decimal().Mul(den); x.LessThan(low) {
			x = low
		}
		x = x.Add(rule.Fee.Decimal().Mul(den))
		if q.IsZero() {
			x = decimal.Zero
		}
		want := halfEven(x, den)
		var c Charge
		ref := rule.price(r, &c)
		if ref != nil {
			if q.LessThan(decimal.New(1, 12)) && want.LessThan(decimal.New(1, 12)) {
				t.Fatalf("%v of %v, want %v", ref, rule, want)
			}
			return
		}
		if !c.Amount.Decimal().Equal(want) || !c.Billed.Decimal().Equal(halfEven(q, den)) {
			t.Fatalf("%+v by %+v: %v, want %v", r, rule, c, want)
		}
	})
}

// halfEven is x/den rounded once to six decimals.
func halfEven(x, den decimal.Decimal) decimal.Decimal {
	q, rem := x.QuoRem(den, 6)
	twice := rem.Mul(decimal.NewFromInt(2)).Cmp(den.Shift(-6))
	odd := !q.Shift(6).Mod(decimal.NewFromInt(2)).IsZero()
	if twice > 0 || twice == 0 && odd {
		q = q.Add(decimal.New(1, -6))
	}
	return q
}

func BenchmarkRate(b *testing.B) {
	rules := []Rule{{Channel: "sms", Unit: "segment", Price: 7_500_000}, {Channel: "voice", Unit: "second", Price: 30_000, Increment: [2]int64{60, 60}}}
	for i := range 1000 {
		rules = append(rules, Rule{Channel: "sms", Country: "IT", Network: fmt.Sprintf("2%04d", i), Unit: "segment", Price: 4_000_000},
			Rule{Channel: "sms", Prefix: fmt.Sprintf("39%03d", i), Unit: "segment", Price: 4_000_000})
	}
	s, a := snapshotOf(rules...)
	for name, change := range map[string]func(*Record){
		"network": func(r *Record) { r.Network, r.Country = "20500", "IT" },
		"prefix":  func(r *Record) { r.To, r.Country, r.Network = "+393331234567", "IT", "99999" },
		"rest":    func(r *Record) { r.To, r.Country, r.Network = "+33123", "FR", "20801" },
		"voice":   func(r *Record) { r.Channel, r.Units, r.Unit = "voice", Units(61), "minute" },
	} {
		r := usage(change)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, ref := Rate(s, a, r, testNow); ref != nil {
					b.Fatal(ref)
				}
			}
		})
	}
}

// TestRuleOfAPlan: versions and rules are numbered from 1, and what came rated has neither.
func TestRuleOfAPlan(t *testing.T) {
	t.Parallel()
	p := &Plan{Versions: []PlanVersion{{Rules: []Rule{{Price: 1}, {Price: 2}}}, {Rules: []Rule{{Price: 3}}}}}
	for _, c := range [][3]int{{1, 1, 1}, {1, 2, 2}, {2, 1, 3}} {
		r := p.Rule(c[0], c[1])
		if r == nil || r.Price != int64(c[2]) {
			t.Errorf("version %d, rule %d: %v", c[0], c[1], r)
		}
	}
	for _, c := range [][2]int{{0, 0}, {0, 1}, {1, 0}, {1, 3}, {2, 2}, {3, 1}, {-1, 1}, {1, -1}} {
		if r := p.Rule(c[0], c[1]); r != nil {
			t.Errorf("version %d, rule %d: %v", c[0], c[1], r)
		}
	}
	if r := (*Plan)(nil).Rule(1, 1); r != nil {
		t.Errorf("no plan has %v", r)
	}
}
