package metering

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestCurrency(t *testing.T) {
	t.Parallel()
	for code, digits := range map[string]int{"EUR": 2, "JPY": 0, "KWD": 3, "CLF": 4, "ZWG": 2, "AED": 2, "XXX": 2} {
		if got := MinorDigits(code); got != digits {
			t.Errorf("%s: %d", code, got)
		}
		if KnownCurrency(code) == (code == "XXX") {
			t.Errorf("%s known: %v", code, KnownCurrency(code))
		}
	}
	for _, code := range []string{"", "EU", "eur", "EURO", "ED ", "D A", "XAU", "BBB"} {
		if KnownCurrency(code) {
			t.Errorf("%q is known", code)
		}
	}
	for code := range minorDigits {
		if !KnownCurrency(code) {
			t.Errorf("%s has minor digits but isn't known", code)
		}
	}
	if got := Micros(-1_500_000).Format("EUR") + Micros(0).Format("JPY") + Micros(1).Format("KWD"); got != "-1.5000.000001" {
		t.Error(got)
	}
}

func TestParseMoney(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]int64{"0.00000001": 1, "0.0412": 4_120_000, "1": 1e8, "9999999999.99999999": 999_999_999_999_999_999, "007.500000000": 750_000_000} {
		if got, err := ParsePrice(s); err != nil || got != want {
			t.Errorf("%s: %d %v", s, got, err)
		}
	}
	for _, s := range []string{"", "-1", "-0", "0.000000001", "1e2", "10000000000", ".5", "5.", "1,5", "NaN", " 1", "1 ", "0x1"} {
		if got, err := ParsePrice(s); !errors.Is(err, ErrPrice) {
			t.Errorf("%q: %d %v", s, got, err)
		}
	}
	if v, err := ParseMicros("-999999999999.999999"); v != -MicrosMax || err != nil {
		t.Error(v, err)
	}
	if _, err := ParseMicros("1000000000000"); !errors.Is(err, ErrOverflow) {
		t.Error(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		v := Micros(rapid.Int64Range(-int64(MicrosMax), int64(MicrosMax)).Draw(t, "v"))
		if got, err := ParseMicros(v.String()); err != nil || got != v {
			t.Fatalf("%s became %v: %v", v, got, err)
		}
		if got, err := ParseMicros(v.Format("EUR")); err != nil || got != v {
			t.Fatalf("%s became %v: %v", v.Format("EUR"), got, err)
		}
	})
}

func TestView(t *testing.T) {
	t.Parallel()
	s := NewSnapshot(1, []*Account{
		{ID: "p", Module: Reseller, Zones: []ZoneFrom{{Zone: "UTC"}}},
		{ID: "q", Module: Enterprise, Zones: []ZoneFrom{{Zone: "UTC"}}},
		{ID: "e", ParentID: "p", Module: Enterprise},
		{ID: "r", ParentID: "p", Module: Reseller},
		{ID: "x", ParentID: "q", Module: Enterprise},
	}, nil)
	if len(s.Faults) != 0 {
		t.Fatal(s.Faults)
	}
	for _, c := range []struct {
		as, target string
		aud        Audience
		id         string
	}{
		{"", "", AudienceOperator, ""},
		{"", "r", AudienceOperator, "r"},
		{"", "none", "", ""},
		{"p", "", AudienceParent, "p"},
		{"p", "p", AudienceParent, "p"},
		{"p", "r", AudienceParent, "r"},
		{"p", "q", "", ""},
		{"p", "x", "", ""},
		{"e", "", AudienceEnterprise, "e"},
		{"r", "r", AudienceReseller, "r"},
		{"r", "e", "", ""},
		{"r", "p", "", ""},
		{"r", "none", "", ""},
		{"none", "", "", ""},
		{"none", "none", "", ""},
	} {
		aud, a, err := s.View(c.as, c.target)
		id := ""
		if a != nil {
			id = a.ID
		}
		if aud != c.aud || id != c.id || (c.aud == "") != errors.Is(err, ErrUnknownAccount) {
			t.Errorf("%q of %q: %q %q %v", c.as, c.target, aud, id, err)
		}
	}
}

func TestVisibleReasons(t *testing.T) {
	t.Parallel()
	all := FlagBudget | FlagMonthly | FlagManualParent
	for _, c := range []struct {
		aud            Audience
		own, inherited Flags
		want           []string
	}{
		{AudienceParent, all, FlagWallet, []string{ReasonBudgetExhausted, ReasonWalletExhausted, ReasonMonthlyLimit, ReasonManual}},
		{AudienceOperator, 0, 0, []string{}},
		{AudienceEnterprise, 0, 0, []string{}},
		{AudienceEnterprise, all, FlagWallet | FlagCeiling, []string{ReasonBudgetExhausted, ReasonParentFunds, ReasonMonthlyLimit, ReasonManual}},
		{AudienceEnterprise, 0, FlagManualOperator, []string{ReasonManual}},
		{AudienceReseller, all, FlagWallet, nil},
		{"", all, FlagWallet, nil},
	} {
		got := VisibleReasons(c.aud, c.own, c.inherited)
		if !slices.Equal(got, c.want) || (got == nil) != (c.want == nil) {
			t.Errorf("%s %b %b: %v, want %v", c.aud, c.own, c.inherited, got, c.want)
		}
	}
}

func TestTransfer(t *testing.T) {
	t.Parallel()
	good := Transfer{Ref: "r 1", Kind: TransferAllocate, ParentID: "p", AccountID: "s", Amount: 5, Currency: "EUR", Actor: "operator"}
	for name, c := range map[string]struct {
		change func(*Transfer)
		want   error
	}{
		"good":                {func(*Transfer) {}, nil},
		"zero":                {func(x *Transfer) { x.Amount = 0 }, ErrTransferZero},
		"negative":            {func(x *Transfer) { x.Amount = -1 }, ErrTransferAmount},
		"huge":                {func(x *Transfer) { x.Amount = MicrosMax + 1 }, ErrOverflow},
		"ref":                 {func(x *Transfer) { x.Ref = "" }, ErrTransferRef},
		"ref, text":           {func(x *Transfer) { x.Ref = "é" }, ErrTransferRef},
		"to itself":           {func(x *Transfer) { x.AccountID = "p" }, ErrTransferAccount},
		"topup of a sub":      {func(x *Transfer) { x.Kind = TransferTopup }, ErrTransferAccount},
		"adjust":              {func(x *Transfer) { x.Kind, x.Amount, x.Reason = TransferAdjust, -1, "why" }, nil},
		"adjust, no why":      {func(x *Transfer) { x.Kind = TransferAdjust }, ErrTransferReason},
		"adjust, invoiced":    {func(x *Transfer) { x.Kind, x.Reason, x.Invoiced = TransferAdjust, "why", true }, nil},
		"allocated, invoiced": {func(x *Transfer) { x.Invoiced = true }, ErrTransferInvoiced},
		"negative sweep":      {func(x *Transfer) { x.Kind, x.Amount = TransferSweep, -1 }, nil},
		"currency":            {func(x *Transfer) { x.Currency = "EURO" }, ErrTransferCurrency},
		"no actor":            {func(x *Transfer) { x.Actor = "" }, ErrTransferActor},
		"close of itself":     {func(x *Transfer) { x.Kind, x.AccountID = TransferClose, "p" }, ErrTransferAccount},
	} {
		x := good
		c.change(&x)
		if err := x.Validate(); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	other := good
	other.Actor, other.At, other.Ref = "p", testNow, "r2"
	if other.ContentHash() != good.ContentHash() {
		t.Error("actor, time or reference is in the hash")
	}
	if other.Amount = 6; other.ContentHash() == good.ContentHash() {
		t.Error("the amount isn't in the hash")
	}
	if other = good; other.ContentHash() != 6_773_931_966_209_750_882 {
		t.Error("references of before would be refused as used for something else")
	}
	if other.Invoiced = true; other.ContentHash() == good.ContentHash() {
		t.Error("whether it is invoiced isn't in the hash")
	}
}

func TestTransferLines(t *testing.T) {
	t.Parallel()
	for kind, want := range map[TransferKind][]TransferLine{
		TransferTopup:    {{"", PurseExternal, -5}, {"p", PurseWallet, 5}},
		TransferAllocate: {{"p", PurseWallet, -5}, {"s", PurseBudget, 5}},
		TransferReclaim:  {{"s", PurseBudget, -5}, {"p", PurseWallet, 5}},
		TransferSweep:    {{"s", PurseBudget, -5}, {"p", PurseWallet, 5}},
		TransferClose:    {{"s", PurseBudget, -5}, {"p", PurseWallet, 5}},
		TransferAdjust:   {{"", PurseExternal, -5}, {"s", PurseBudget, 5}},
	} {
		x := Transfer{Kind: kind, ParentID: "p", AccountID: "s", Amount: 5}
		if kind == TransferTopup {
			x.AccountID = "p"
		}
		if got := x.Lines(); !slices.Equal(got, want) {
			t.Errorf("%s: %v", kind, got)
		}
	}
	x := Transfer{Kind: TransferAdjust, ParentID: "p", AccountID: "p", Amount: -5}
	if got := x.Lines(); !slices.Equal(got, []TransferLine{{"", PurseExternal, 5}, {"p", PurseWallet, -5}}) {
		t.Error(got)
	}
}

// TestJSONLossless checks that documents come back from JSON as they were, with
// every field set so that a new one without a tag is noticed.
func TestJSONLossless(t *testing.T) {
	t.Parallel()
	m, at := MicrosMax, testNow.Add(123*time.Millisecond)
	a := Account{
		ID: "s", ParentID: "p", Name: "n", Module: Enterprise, OwnModule: Reseller, Currency: "EUR", Mode: Prepaid, Source: SourceShared,
		CreditLimit: &m, MonthlyLimit: &m, Alerts: []int{}, Observe: true, AlertMail: []string{"a@b.example"}, Issuer: &Issuer{"N", "A"}, Zones: []ZoneFrom{{"", "UTC"}, {"2026-11", "Asia/Tokyo"}}, OwnZone: "UTC",
		Channels: []ChannelsFrom{{at, nil}, {at, []string{}}, {at, []string{"sms"}}}, Plans: []PlanFrom{{at, "x"}}, OwnPlan: "x",
		Hooks:   []Hook{{"https://x", "S", []string{"alert"}}},
		Reports: []Schedule{{"n", "@daily", "yesterday", []string{"parent"}, true, true, []string{"csv"}, "messages", []string{"file:x"}, map[string]SecretRef{"file:x": {"E", "F"}}}}, CreatedAt: at, ClosedAt: &at, Catalog: 7,
	}
	p := Plan{"x", "EUR", []PlanVersion{{at, []string{"failed"}, time.Minute, []Rule{
		{"sms", Inbound, "IT", "22210", "39", "c", "second", 1, [2]int64{60, 6}, 2, 3}, {},
	}}}, 9}
	var a2, a3 Account
	var p2 Plan
	roundTrip(t, &a, &a2)
	roundTrip(t, &p, &p2)
	roundTrip(t, &Account{}, &a3)
	for _, v := range []reflect.Value{reflect.ValueOf(a2), reflect.ValueOf(p2), reflect.ValueOf(p2.Versions[0]), reflect.ValueOf(p2.Versions[0].Rules[0])} {
		for i := range v.NumField() {
			if name := v.Type().Field(i).Name; v.Field(i).IsZero() && !slices.Contains([]string{"Calendar", "Opened", "Priced", "PlanCatalog", "First"}, name) {
				t.Errorf("%s.%s is lost, or isn't set by this test", v.Type(), name)
			}
		}
	}
}

func roundTrip(t *testing.T, in, out any) {
	t.Helper()
	b, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, out); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(in, out) {
		t.Errorf("%s\n got %+v\nwant %+v", b, out, in)
	}
}

func TestSnapshot(t *testing.T) {
	t.Parallel()
	parent := &Account{ID: "p", Zones: []ZoneFrom{{Zone: "Europe/Rome"}}}
	s := NewSnapshot(1, []*Account{
		{ID: "s2", ParentID: "p"},
		{ID: "s1", ParentID: "p"},
		parent,
		{ID: "q", Zones: []ZoneFrom{{Zone: "Nowhere/At_All"}}},
		{ID: "t", ParentID: "none"},
	}, nil)
	if len(s.Faults) != 2 || parent.Calendar != nil || s.Accounts["s1"].Calendar != s.Accounts["p"].Calendar || s.Accounts["p"].Calendar == nil {
		t.Errorf("%v %+v", s.Faults, s.Accounts["s1"])
	}
	if !slices.Equal(s.Subs["p"], []string{"s1", "s2"}) || !slices.Equal(s.Parents, []string{"p", "q"}) {
		t.Error(s.Subs, s.Parents)
	}
}

func TestPlanValidate(t *testing.T) {
	t.Parallel()
	rule := Rule{Channel: "sms", Unit: "segment", Price: 1}
	good := func() *Plan {
		return &Plan{ID: "x", Currency: "EUR", Versions: []PlanVersion{
			{EffectiveFrom: testPlan, Rules: []Rule{rule}},
			{EffectiveFrom: testNow, RefundOn: []string{"failed"}, RefundAfter: time.Minute, Rules: []Rule{rule}},
		}}
	}
	for field, change := range map[string]func(*Plan){
		"":               func(*Plan) {},
		"id":             func(p *Plan) { p.ID = " " },
		"currency":       func(p *Plan) { p.Currency = "XXX" },
		"versions":       func(p *Plan) { p.Versions = nil },
		"effective_from": func(p *Plan) { p.Versions[1].EffectiveFrom = testPlan },
		"refund_on":      func(p *Plan) { p.Versions[1].RefundOn = []string{"Failed"} },
		"refund_after":   func(p *Plan) { p.Versions[1].RefundOn = nil },
		"rules":          func(p *Plan) { p.Versions[0].Rules = append(p.Versions[0].Rules, rule) },
		"price":          func(p *Plan) { p.Versions[0].Rules[0].Price = -1 },
		"unit":           func(p *Plan) { p.Versions[0].Rules[0].Unit = "" },
		"increment":      func(p *Plan) { p.Versions[0].Rules[0].Increment = [2]int64{60, 60} },
		"prefix":         func(p *Plan) { p.Versions[0].Rules[0].Prefix = "+39" },
		"fee":            func(p *Plan) { p.Versions[0].Rules[0].Fee = -1 },
	} {
		p := good()
		change(p)
		err := p.Validate()
		var f *FieldError
		if field == "" && err != nil || field != "" && (!errors.As(err, &f) || f.Field != field) {
			t.Errorf("%s: %v", field, err)
		}
	}
	p := good()
	p.Versions[1].RefundOn = []string{"failed", "sent"}
	if err := p.Validate(); err == nil || !strings.Contains(err.Error(), "sent is none") {
		t.Errorf("a status that isn't a failing one: %v", err)
	}
}
