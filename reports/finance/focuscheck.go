package finance

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/shopspring/decimal"

	"github.com/meterd/meterd/metering"
)

// Violation of one of FOCUS's rules.
type Violation struct {
	Line   int    `json:"line"` // of the file, the header's is 1; a Parquet file's first row is 2
	Rule   string `json:"rule"`
	Detail string `json:"detail"`
}

// violationsMax is how many are told.
const violationsMax = 100

// Check holds a file of the dataset CostAndUsage, CSV or Parquet by its name, against the
// rules of a version of FOCUS that concern a row, or rows of one file. It knows nothing of
// how the file was made.
func Check(path, version string) ([]Violation, error) {
	f, err := os.Open(path) //nolint:gosec // the file that was just written
	if err != nil {
		return nil, fmt.Errorf("read the export again: %w", err)
	}
	each := eachCSV
	if strings.HasSuffix(path, ".parquet") {
		each = eachParquet
	}
	k := &checker{version: version, seen: map[string]string{}, line: 1}
	err = each(f, k.columns, func(r row) bool {
		k.line++
		k.row(r)
		return len(k.out) < violationsMax
	})
	if err := errors.Join(err, f.Close()); err != nil {
		return k.out, fmt.Errorf("check %s: %w", path, err)
	}
	return k.out, nil
}

// eachCSV hands over a file's header, then each row for as long as more are wanted.
func eachCSV(f *os.File, columns func([]string), more func(row) bool) error {
	in := csv.NewReader(f)
	header, err := in.Read()
	if err != nil {
		return fmt.Errorf("read the header: %w", err)
	}
	header[0] = strings.TrimPrefix(header[0], "\uFEFF")
	columns(header)
	for {
		cells, err := in.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		r := row{}
		for i, name := range header {
			r[name] = cells[i]
		}
		if !more(r) {
			return nil
		}
	}
}

// row is a line by the names of its columns; "" is null.
type row map[string]string

func (r row) has(name string) bool { return r[name] != "" }

// number of a column; zero where it is null.
func (r row) number(name string) decimal.Decimal {
	d, err := decimal.NewFromString(r[name])
	if err != nil {
		return decimal.Zero
	}
	return d
}

func (r row) time(name string) time.Time {
	t, err := time.Parse(time.RFC3339, r[name])
	if err != nil {
		return time.Time{}
	}
	return t
}

type checker struct {
	version string
	line    int
	out     []Violation
	seen    map[string]string // what must be one thing in the whole file
}

// want notes a violation unless ok.
func (k *checker) want(ok bool, rule, format string, args ...any) {
	if !ok && len(k.out) < violationsMax {
		k.out = append(k.out, Violation{k.line, rule, fmt.Sprintf(format, args...)})
	}
}

// Columns by version. Mandatory ones must be there; those in filled are never null.
func mandatory(version string) []string {
	out := []string{
		"BilledCost", "EffectiveCost", "ListCost", "ContractedCost", "BillingAccountId", "BillingAccountName", "BillingCurrency",
		"BillingPeriodStart", "BillingPeriodEnd", "ChargePeriodStart", "ChargePeriodEnd", "ChargeCategory", "ChargeClass", "ChargeDescription",
		"PricingQuantity", "PricingUnit", "InvoiceIssuerName", "ServiceName", "ServiceCategory",
	}
	if version == FOCUS12 {
		return append(out, "ProviderName", "PublisherName")
	}
	return append(out, "ServiceProviderName", "HostProviderName")
}

var (
	customName = regexp.MustCompile(`^x_([A-Z][a-z0-9]*)+$`)
	decimalOK  = regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?(E-[0-9]+)?$`)
	instantOK  = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$`)
	unitOK     = regexp.MustCompile(`^([0-9]+ )?[A-Z]\S*s( [A-Z]\S*)*$|^[A-Z]{3}$`)
)

func (k *checker) columns(header []string) {
	for _, name := range mandatory(k.version) {
		k.want(slices.Contains(header, name), "mandatory column", "%s is missing", name)
	}
	other := map[string][]string{FOCUS14: {"ProviderName", "PublisherName"}, FOCUS12: {"ServiceProviderName", "HostProviderName", "InvoiceDetailId"}}
	for _, name := range other[k.version] {
		k.want(!slices.Contains(header, name), "column of another version", "%s", name)
	}
	known := map[string]bool{}
	for _, c := range allFOCUS() {
		known[c.name] = true
	}
	custom := false
	for i, name := range header {
		if strings.HasPrefix(name, "x_") {
			custom = true
			k.want(customName.MatchString(name), "custom column's name", "%s: want x_ and Pascal case", name)
			continue
		}
		k.want(!custom, "custom columns come last", "%s comes after one", name)
		k.want(known[name], "column's name", "%s isn't a column of FOCUS that applies", name)
		k.want(!slices.Contains(header[:i], name), "column once", "%s", name)
	}
}

func (k *checker) row(r row) {
	k.forms(r)
	k.periods(r)
	k.categories(r)
	k.nulls(r)
	k.costs(r)
	k.once(r)
}

// forms of values (FOCUS: String, Numeric and Date/Time Format).
func (k *checker) forms(r row) {
	for _, c := range ofVersion(k.version) {
		v, there := r[c.name]
		if !there {
			continue
		}
		k.want(c.null || v != "", "not null", "%s", c.name)
		k.want(!slices.Contains([]string{"NULL", "null", "N/A", "(null)"}, v), "null is no value", "%s is %q", c.name, v)
		if v == "" {
			continue
		}
		switch c.kind {
		case number, money, count:
			k.want(decimalOK.MatchString(v), "decimal", "%s is %q", c.name, v)
		case instant:
			k.want(instantOK.MatchString(v), "date and time", "%s is %q: want UTC, to the second", c.name, v)
		case document:
			k.object(c.name, v)
		case text:
		}
	}
	k.want(metering.KnownCurrency(r["BillingCurrency"]), "currency", "BillingCurrency isn't of ISO 4217")
	for _, name := range []string{"PricingUnit", "ConsumedUnit"} {
		k.want(!r.has(name) || unitOK.MatchString(r[name]), "unit", "%s is %q: want capitalised and plural", name, r[name])
	}
}

// object checks a flat JSON object; SkuPriceDetails has keys of ours.
func (k *checker) object(name, v string) {
	var o map[string]any
	if err := json.Unmarshal([]byte(v), &o); err != nil {
		k.want(false, "JSON", "%s isn't an object", name)
		return
	}
	for key, x := range o {
		_, nested := x.(map[string]any)
		k.want(!nested, "JSON", "%s has an object within", name)
		k.want(name != "SkuPriceDetails" || strings.HasPrefix(key, "x_"), "own keys", "%s has the key %q: want x_…", name, key)
	}
}

func (k *checker) periods(r row) {
	bs, be, cs, ce := r.time("BillingPeriodStart"), r.time("BillingPeriodEnd"), r.time("ChargePeriodStart"), r.time("ChargePeriodEnd")
	k.want(bs.Before(be), "billing period", "starts no earlier than it ends")
	k.want(cs.Before(ce), "charge period", "starts no earlier than it ends")
	if r["ChargeClass"] == classCorrection {
		k.want(!ce.After(bs), "correction", "is of the period that it is billed in: want an earlier one")
		return
	}
	k.want(!cs.Before(bs) && !ce.After(be), "charge period", "isn't within the billing period")
}

func (k *checker) categories(r row) {
	enum := func(name string, values ...string) {
		k.want(!r.has(name) || slices.Contains(values, r[name]), "allowed values", "%s is %q", name, r[name])
	}
	enum("ChargeCategory", chargeUsage, chargePurchase, "Tax", "Credit", chargeAdjustment)
	enum("ChargeClass", classCorrection)
	enum("ChargeFrequency", frequencyUsage, frequencyOneTime, "Recurring")
	enum("ServiceCategory", serviceCategories()...)
	k.want(r["ChargeCategory"] != chargePurchase || r["ChargeFrequency"] != frequencyUsage, "frequency", "a Purchase is never Usage-Based")
	k.want(!r.has("ServiceSubcategory") || strings.Contains(r["ServiceSubcategory"], r["ServiceCategory"]), "subcategory", "isn't of its ServiceCategory")
}

// nulls by charge category, and columns that go together (FOCUS: Nullability of each column).
func (k *checker) nulls(r row) {
	category, correction := r["ChargeCategory"], r.has("ChargeClass")
	priced := []string{"SkuId", "SkuPriceId", "PricingQuantity"}
	switch {
	case category == chargeUsage && !correction:
		for _, name := range append(priced, "ConsumedQuantity") {
			k.want(r.has(name), "set on Usage", "%s is null", name)
		}
	case category == chargePurchase:
		for _, name := range priced {
			k.want(r.has(name), "set on a Purchase", "%s is null", name)
		}
	case category == "Tax":
		for _, name := range append(priced, "ListUnitPrice", "ContractedUnitPrice") {
			k.want(!r.has(name), "null on a Tax", "%s is set", name)
		}
	}
	k.want(category == chargeUsage || !r.has("ConsumedQuantity"), "consumed quantity", "only Usage consumes")
	for _, pair := range [][2]string{
		{"PricingUnit", "PricingQuantity"},
		{"ConsumedUnit", "ConsumedQuantity"},
		{"SubAccountName", "SubAccountId"},
		{"ListUnitPrice", "SkuPriceId"},
		{"ContractedUnitPrice", "SkuPriceId"},
	} {
		k.want(r.has(pair[0]) == r.has(pair[1]), "null together", "%s and %s", pair[0], pair[1])
	}
	for _, pair := range [][2]string{
		{"SkuMeter", "SkuId"}, {"SkuPriceDetails", "SkuPriceId"}, {"SkuPriceId", "SkuId"}, {"PricingQuantity", "SkuPriceId"}, {"ConsumedQuantity", "SkuPriceId"},
	} {
		k.want(!r.has(pair[0]) || r.has(pair[1]), "null too", "%s is set, %s is null", pair[0], pair[1])
	}
}

// costs: products and what covers what (FOCUS: Cost and SKU columns), exact.
func (k *checker) costs(r row) {
	billed, effective, list, contracted := r.number("BilledCost"), r.number("EffectiveCost"), r.number("ListCost"), r.number("ContractedCost")
	if r.has("PricingQuantity") {
		q := r.number("PricingQuantity")
		k.want(!r.has("ListUnitPrice") || q.Mul(r.number("ListUnitPrice")).Equal(list), "product", "ListCost isn't ListUnitPrice × PricingQuantity")
		k.want(!r.has("ContractedUnitPrice") || q.Mul(r.number("ContractedUnitPrice")).Equal(contracted), "product", "ContractedCost isn't ContractedUnitPrice × PricingQuantity")
	}
	for _, name := range []string{"ListUnitPrice", "ContractedUnitPrice"} {
		k.want(!r.number(name).IsNegative(), "price from 0", "%s is negative: a negative row has a negative quantity", name)
	}
	switch r["ChargeCategory"] {
	case chargeUsage:
		k.want(billed.IsZero() || billed.Equal(effective), "billed and effective", "Usage is billed as it accrues, or covered and billed 0")
	case chargePurchase:
		k.want(effective.IsZero() || effective.Equal(billed), "billed and effective", "a Purchase that covers others has an EffectiveCost of 0")
		k.want(billed.Equal(list) && billed.Equal(contracted), "purchase", "its costs differ")
	case "Credit":
		k.want(billed.Equal(effective) && billed.Equal(list) && billed.Equal(contracted), "credit", "its costs differ")
	}
}

// once: what must be one thing in the whole file.
func (k *checker) once(r row) {
	for _, pair := range [][2]string{{"SkuPriceId", "SkuId"}, {"SkuId", "SkuMeter"}, {"ServiceName", "ServiceCategory"}, {"BillingAccountId", "BillingCurrency"}} {
		if !r.has(pair[0]) {
			continue
		}
		key := pair[0] + "\x00" + r[pair[0]]
		was, there := k.seen[key]
		k.want(!there || was == r[pair[1]], "one for each", "%s %q has two of %s", pair[0], r[pair[0]], pair[1])
		k.seen[key] = r[pair[1]]
	}
}
