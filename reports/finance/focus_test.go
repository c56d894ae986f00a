package finance

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering"
)

func focusFile(t *testing.T, b *books, version string) (string, *Manifest) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "focus.csv")
	m := b.run(Request{From: "2026-11", To: "2026-11", Format: FormatFOCUS, Out: path, FOCUS: FOCUSOptions{
		Version: version, Provider: "Acme Messaging", Categories: map[string]string{"mms": "Media"}, Tags: []string{"campaign"},
	}})
	return path, m
}

func violations(t *testing.T, path, version string) []Violation {
	t.Helper()
	out, err := Check(path, version)
	require.NoError(t, err)
	return out
}

func TestFOCUSKeepsItsRulesAndAddsUp(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	b.november(300)
	b.money()
	for _, version := range []string{FOCUS14, FOCUS12} {
		path, m := focusFile(t, b, version)
		require.Empty(t, violations(t, path, version))
		rows := table(t, path)
		require.Len(t, rows, m.Rows)
		for _, s := range m.Months {
			of := func(want ...string) func(map[string]string) bool {
				return func(r map[string]string) bool {
					return r["BillingAccountId"] == s.Parent && (len(want) == 0 || slices.Contains(want, r["ChargeCategory"]))
				}
			}
			want := b.bill(s.Parent)
			same(t, want.lines, sum(t, rows, "EffectiveCost", of()), "accrued")
			same(t, want.lines, d(t, s.Billable), "the manifest")
			messages := sum(t, rows, "x_MessageCount", of(chargeUsage))
			same(t, decimal.NewFromUint64(want.records), messages, "messages")
			if s.Parent == "acme" { // what is bought is what is drawn and what is left
				same(t, d(t, "260"), sum(t, rows, "BilledCost", of()), "bought")
				same(t, d(t, "267.25"), sum(t, rows, "x_PurseMovement", func(r map[string]string) bool { return r["x_PurseMovement"] != "" }), "bought, and given")
				same(t, d(t, "267.25").Sub(want.lines), d(t, s.Wallet.Closing), "left")
				continue
			}
			same(t, want.lines, sum(t, rows, "BilledCost", of()), "billed")
		}
	}
}

// TestFOCUSOfAMonthPaidAhead stays as it was when the parent pays afterwards now.
func TestFOCUSOfAMonthPaidAhead(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	b.november(50)
	b.money()
	path, before := focusFile(t, b, FOCUS14)
	list := accounts()
	for _, a := range list[:3] {
		a.Mode, a.Source = metering.Postpaid, metering.SourceCredit
	}
	b.apply(2, list, plans())
	again, after := focusFile(t, b, FOCUS14)
	require.Equal(t, table(t, path), table(t, again))
	require.Equal(t, before.Months, after.Months)
	require.NotNil(t, after.Months[0].Wallet)
	require.Nil(t, after.Months[1].Wallet, "one that never paid ahead")
}

// TestFOCUSHasEachKindOfRow makes sure that the test above sees them all.
func TestFOCUSHasEachKindOfRow(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	b.november(600)
	b.money()
	path, _ := focusFile(t, b, FOCUS14)
	seen := map[string]int{}
	for _, r := range table(t, path) {
		kind := r["ChargeCategory"] + " " + r["ChargeClass"]
		if r["SkuPriceDetails"] != "" {
			kind += " " + r["SkuPriceDetails"]
		}
		if r["PricingQuantity"] != "" && d(t, r["PricingQuantity"]).IsNegative() {
			kind += " negative"
		}
		seen[kind]++
		require.NotEqual(t, "null", r["Tags"])
	}
	for _, class := range []string{"", classCorrection} {
		for _, kind := range []string{
			`{"x_Tier":"unit"}`, `{"x_Tier":"unit"} negative`, `{"x_Tier":"fee"}`, `{"x_Tier":"minimum"}`, `{"x_Tier":"minimum"} negative`,
			`{"x_Tier":"rated"}`, `{"x_Tier":"rated"} negative`, `{"x_Tier":"refunded"} negative`,
		} {
			require.NotZero(t, seen[chargeUsage+" "+class+" "+kind], "Usage %s %s", class, kind)
		}
		require.NotZero(t, seen[chargeAdjustment+" "+class], "Adjustment %s", class)
	}
	require.Equal(t, 2, seen[chargePurchase+` {"x_Tier":"topup"}`+""]+seen[chargePurchase+`  {"x_Tier":"topup"}`])
}

// TestFOCUSSaysWhy: what was booked by hand has its reference and reason, and only what
// was invoiced is billed.
func TestFOCUSSaysWhy(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	b.november(200)
	b.money()
	path, _ := focusFile(t, b, FOCUS14)
	moved, corrected, rounded := map[string][]string{}, 0, map[string]int{}
	for _, r := range table(t, path) {
		switch {
		case strings.HasPrefix(r["ChargeDescription"], "Re-rating of "):
			corrected++
			require.Equal(t, "corr-"+r["BillingAccountId"], r["x_Reference"])
			require.True(t, strings.HasSuffix(r["ChargeDescription"], ": agreed in October"), r["ChargeDescription"])
		case strings.HasPrefix(r["ChargeDescription"], "Rounding"):
			rounded[r["BillingAccountId"]+"/"+r["SubAccountId"]+"/"+r["ChargePeriodStart"]+"/"+r["ServiceName"]+"/"+r["x_Funding"]+"/"+r["Tags"]]++
		case r["x_PurseMovement"] != "":
			moved[r["x_Reference"]] = []string{r["ChargeDescription"], r["BilledCost"], r["ListCost"], r["EffectiveCost"], r["x_PurseMovement"]}
		}
		require.Equal(t, r["x_PricePlanId"] == "", r["x_PricePlanVersionId"] == "", "no plan has no version")
		require.Equal(t, r["x_PricePlanId"] == "", r["x_PricePlanRule"] == "")
		require.NotEqual(t, "0", r["x_PricePlanRule"])
	}
	require.Equal(t, map[string][]string{
		"inv-1":  {"Top-up of the wallet", "250.0", "250.0", "0.0", "250.0"},
		"inv-2":  {"Top-up of the wallet", "10.5", "10.5", "0.0", "10.5"},
		"fix-1":  {"Adjustment of the wallet, invoiced: typed wrong", "-0.5", "-0.5", "0.0", "-0.5"},
		"gift-1": {"Adjustment of the wallet, not invoiced: for the outage", "0.0", "0.0", "0.0", "7.25"},
	}, moved)
	require.NotZero(t, corrected)
	require.NotEmpty(t, rounded)
	for k, n := range rounded {
		require.Equal(t, 1, n, "one row of rounding for %s", k)
	}
}

func TestFOCUSMetadataDescribesTheColumns(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	b.november(5)
	path, _ := focusFile(t, b, FOCUS14)
	text, err := os.ReadFile(path + MetadataSuffix)
	require.NoError(t, err)
	var m metadata
	require.NoError(t, json.Unmarshal(text, &m))
	require.Equal(t, FOCUS14, m.Schema.FocusVersion)
	require.Len(t, m.Recency.Sectors, 2)
	require.False(t, m.Recency.Complete)
	f, err := os.Open(path)
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	header, err := csv.NewReader(f).Read()
	require.NoError(t, err)
	require.Len(t, m.Schema.Columns, len(header))
	for i, c := range m.Schema.Columns {
		require.Equal(t, header[i], c.Name)
	}
}

func TestFOCUSAsParquet(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	b.november(80)
	b.money()
	path := filepath.Join(t.TempDir(), "focus.parquet")
	m := b.run(Request{From: "2026-11", To: "2026-11", Format: FormatFOCUS, Out: path})
	total := decimal.Zero
	n := 0
	parquetRows(t, b, path, []string{"BillingAccountId", "EffectiveCost"}, func(cells []string) {
		n++
		total = total.Add(d(t, cells[1]))
	})
	require.Equal(t, m.Rows, n)
	require.Empty(t, violations(t, path, FOCUS14))
	require.NotEmpty(t, violations(t, path, FOCUS12), "columns of another version")
	same(t, b.bill("acme").lines.Add(b.bill("globex").lines), total, "accrued")
}

// good is a file of two rows that keeps every rule: a charge, and its fee's
// correction a month later.
func good() (header []string, rows [][]string) {
	columns := ofVersion(FOCUS14)
	values := map[string][2]string{
		"BilledCost": {"0.08", "-0.003"}, "EffectiveCost": {"0.08", "-0.003"}, "ListCost": {"0.08", "-0.003"}, "ContractedCost": {"0.08", "-0.003"},
		"BillingAccountId": {"acme", "acme"}, "BillingAccountName": {"Acme", "Acme"}, "BillingCurrency": {"EUR", "EUR"},
		"BillingPeriodStart": {"2026-10-31T23:00:00Z", "2026-10-31T23:00:00Z"}, "BillingPeriodEnd": {"2026-11-30T23:00:00Z", "2026-11-30T23:00:00Z"},
		"ChargePeriodStart": {"2026-11-01T23:00:00Z", "2026-10-01T22:00:00Z"}, "ChargePeriodEnd": {"2026-11-02T23:00:00Z", "2026-10-02T22:00:00Z"},
		"ChargeCategory": {"Usage", "Adjustment"}, "ChargeClass": {"", "Correction"}, "ChargeDescription": {"SMS", "A fee"},
		"ChargeFrequency": {"Usage-Based", "One-Time"}, "InvoiceIssuerName": {"Acme", "Acme"}, "ServiceProviderName": {"Acme", "Acme"}, "HostProviderName": {"Acme", "Acme"},
		"ServiceName": {"SMS", "SMS"}, "ServiceCategory": {"Mobile", "Mobile"}, "ServiceSubcategory": {"Other (Mobile)", "Other (Mobile)"},
		"SubAccountId": {"shop", ""}, "SubAccountName": {"Shop", ""}, "PricingQuantity": {"2.0", ""}, "PricingUnit": {"Segments", ""},
		"ConsumedQuantity": {"2.0", ""}, "ConsumedUnit": {"Segments", ""}, "ListUnitPrice": {"0.04", ""}, "ContractedUnitPrice": {"0.04", ""},
		"SkuId": {"sms.outbound.IT", ""}, "SkuPriceId": {"sms.outbound.IT", ""}, "SkuMeter": {"Segments", ""}, "SkuPriceDetails": {`{"x_Tier":"unit"}`, ""},
		"Tags": {`{"campaign":"spring"}`, ""}, "x_Channel": {"sms", "sms"},
	}
	rows = [][]string{{}, {}}
	for _, c := range columns {
		header = append(header, c.name)
		v := values[c.name]
		rows[0], rows[1] = append(rows[0], v[0]), append(rows[1], v[1])
	}
	return header, rows
}

func TestCheckNoticesEachBrokenRule(t *testing.T) {
	t.Parallel()
	check := func(header []string, rows [][]string) []Violation {
		var b bytes.Buffer
		w := csv.NewWriter(&b)
		require.NoError(t, w.WriteAll(append([][]string{header}, rows...)))
		path := filepath.Join(t.TempDir(), "focus.csv")
		require.NoError(t, os.WriteFile(path, b.Bytes(), 0o600))
		return violations(t, path, FOCUS14)
	}
	header, rows := good()
	require.Empty(t, check(header, rows))
	for _, c := range []struct {
		rule   string
		row    int
		change map[string]string
	}{
		{"not null", 0, map[string]string{"BillingAccountId": ""}},
		{"null is no value", 1, map[string]string{"SubAccountId": "NULL", "SubAccountName": "NULL"}},
		{"decimal", 0, map[string]string{"BilledCost": "1,5"}},
		{"decimal", 0, map[string]string{"BilledCost": "1E+7"}},
		{"date and time", 0, map[string]string{"ChargePeriodStart": "2026-11-01T23:00:00.5Z"}},
		{"JSON", 0, map[string]string{"Tags": "spring"}},
		{"JSON", 0, map[string]string{"Tags": `{"a":{"b":"c"}}`}},
		{"own keys", 0, map[string]string{"SkuPriceDetails": `{"Tier":"unit"}`}},
		{"currency", 0, map[string]string{"BillingCurrency": "EURO"}},
		{"unit", 0, map[string]string{"PricingUnit": "segment"}},
		{"billing period", 0, map[string]string{"BillingPeriodEnd": "2026-10-31T23:00:00Z"}},
		{"charge period", 0, map[string]string{"ChargePeriodEnd": "2026-12-01T23:00:00Z"}},
		{"charge period", 0, map[string]string{"ChargePeriodEnd": "2026-11-01T23:00:00Z"}},
		{"correction", 1, map[string]string{"ChargePeriodEnd": "2026-11-20T23:00:00Z"}},
		{"allowed values", 0, map[string]string{"ChargeCategory": "Refund"}},
		{"allowed values", 1, map[string]string{"ChargeClass": "Late"}},
		{"allowed values", 0, map[string]string{"ServiceCategory": "Messaging", "ServiceSubcategory": ""}},
		{"subcategory", 0, map[string]string{"ServiceSubcategory": "Other (Web)"}},
		{"frequency", 0, map[string]string{"ChargeCategory": "Purchase", "ConsumedQuantity": "", "ConsumedUnit": "", "EffectiveCost": "0"}},
		{"set on Usage", 0, map[string]string{"ConsumedQuantity": "", "ConsumedUnit": ""}},
		{"set on a Purchase", 1, map[string]string{"ChargeCategory": "Purchase"}},
		{"null on a Tax", 0, map[string]string{"ChargeCategory": "Tax"}},
		{"consumed quantity", 0, map[string]string{"ChargeCategory": "Credit"}},
		{"null together", 0, map[string]string{"SubAccountName": ""}},
		{"null together", 0, map[string]string{"ListUnitPrice": ""}},
		{"null too", 1, map[string]string{"SkuMeter": "Segments"}},
		{"product", 0, map[string]string{"ListUnitPrice": "0.040000000000001"}},
		{"product", 0, map[string]string{"ContractedCost": "0.09"}},
		{"price from 0", 0, map[string]string{"ListUnitPrice": "-0.04", "ContractedUnitPrice": "-0.04", "PricingQuantity": "-2.0"}},
		{"billed and effective", 0, map[string]string{"BilledCost": "0.04"}},
		{"purchase", 0, map[string]string{"ChargeCategory": "Purchase", "ListCost": "1"}},
		{"credit", 1, map[string]string{"ChargeCategory": "Credit", "ListCost": "1"}},
		{"one for each", 1, map[string]string{"BillingCurrency": "USD"}},
		{"one for each", 1, map[string]string{"SkuId": "sms.outbound.IT", "SkuMeter": "Messages"}},
		{"one for each", 1, map[string]string{"ServiceCategory": "Web", "ServiceSubcategory": ""}},
	} {
		header, rows := good()
		for name, v := range c.change {
			rows[c.row][slices.Index(header, name)] = v
		}
		found := check(header, rows)
		require.True(t, slices.ContainsFunc(found, func(v Violation) bool { return v.Rule == c.rule }), "%s, %v: found %v", c.rule, c.change, found)
	}
	for rule, names := range map[string][]string{
		"mandatory column": header[1:], "column of another version": append(slices.Clone(header), "ProviderName"),
		"custom column's name": append(slices.Clone(header), "x_lower"), "custom columns come last": append([]string{"x_First"}, header...),
		"column's name": append([]string{"Zone"}, header...), "column once": append([]string{"SkuId"}, header...),
	} {
		found := check(names, nil)
		require.True(t, slices.ContainsFunc(found, func(v Violation) bool { return v.Rule == rule }), "%s: found %v", rule, found)
	}
}
