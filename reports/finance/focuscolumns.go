package finance

import (
	"time"

	"github.com/shopspring/decimal"

	"github.com/meterd/meterd/reports/render"
)

// Versions of FOCUS that are written.
const (
	FOCUS14 = "1.4"
	FOCUS12 = "1.2"
)

// Decimals of FOCUS's numbers. A cost is a price (8 decimals) times a quantity (6).
const (
	costScale     = 14
	quantityScale = 6
	priceScale    = 8
)

// Charge categories and classes of FOCUS.
const (
	chargeUsage      = "Usage"
	chargePurchase   = "Purchase"
	chargeAdjustment = "Adjustment"
	classCorrection  = "Correction"

	frequencyUsage   = "Usage-Based"
	frequencyOneTime = "One-Time"
)

// charge is one row of FOCUS's dataset CostAndUsage. Texts and pointers that
// are empty are null.
type charge struct {
	accountID, accountName string // of the sub-account; empty: the parent's own
	billed, effective      decimal.Decimal
	cost                   decimal.Decimal // list and contracted: meterd has one price
	start, end             time.Time       // charge period
	category, class        string
	description            string
	frequency              string
	quantity, price        *decimal.Decimal
	unit                   string
	consumed               *decimal.Decimal
	consumedUnit           string
	sku, skuPrice, meter   string
	skuDetails             string
	channel                string // service
	tags                   string

	direction, country, network, messageCategory, funding string
	plan                                                  string
	version, rule                                         uint64
	messages                                              uint64
	reference                                             string
	moved                                                 *decimal.Decimal // in a purse, by a top-up or an adjustment
}

// focusColumn is a column with what a row has in it.
type focusColumn struct {
	column
	of func(m *focusMonth, c *charge) any
	// only is the version that has it; empty: both.
	only string
	// null tells whether it may be empty.
	null bool
}

// orNull is a text, or no value.
func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func decOrNull(d *decimal.Decimal) any {
	if d == nil {
		return nil
	}
	return *d
}

func str(name string, null bool, of func(m *focusMonth, c *charge) string) focusColumn {
	return focusColumn{column: column{name: name, kind: text}, null: null, of: func(m *focusMonth, c *charge) any { return orNull(of(m, c)) }}
}

func dec(name string, scale int, null bool, of func(c *charge) any) focusColumn {
	return focusColumn{column: column{name: name, kind: number, scale: scale}, null: null, of: func(_ *focusMonth, c *charge) any { return of(c) }}
}

func when(name string, of func(m *focusMonth, c *charge) time.Time) focusColumn {
	return focusColumn{column: column{name: name, kind: instant}, of: func(m *focusMonth, c *charge) any { return of(m, c) }}
}

// in makes a column that only one version has.
func in(version string, f focusColumn) focusColumn {
	f.only = version
	return f
}

// asJSON makes a column hold JSON.
func asJSON(f focusColumn) focusColumn {
	f.kind = document
	return f
}

// allFOCUS are the columns of both versions, in their order; custom ones last.
func allFOCUS() []focusColumn {
	return append(costColumns(), append(skuColumns(), customColumns()...)...)
}

func costColumns() []focusColumn {
	return []focusColumn{
		dec("BilledCost", costScale, false, func(c *charge) any { return c.billed }),
		dec("EffectiveCost", costScale, false, func(c *charge) any { return c.effective }),
		dec("ListCost", costScale, false, func(c *charge) any { return c.cost }),
		dec("ContractedCost", costScale, false, func(c *charge) any { return c.cost }),
		str("BillingAccountId", false, func(m *focusMonth, _ *charge) string { return m.parent.ID }),
		str("BillingAccountName", true, func(m *focusMonth, _ *charge) string { return m.accounts[m.parent.ID].Name }),
		str("BillingCurrency", false, func(m *focusMonth, _ *charge) string { return m.parent.Currency }),
		when("BillingPeriodStart", func(m *focusMonth, _ *charge) time.Time { return m.period.Start }),
		when("BillingPeriodEnd", func(m *focusMonth, _ *charge) time.Time { return m.period.End }),
		when("ChargePeriodStart", func(_ *focusMonth, c *charge) time.Time { return c.start }),
		when("ChargePeriodEnd", func(_ *focusMonth, c *charge) time.Time { return c.end }),
		str("ChargeCategory", false, func(_ *focusMonth, c *charge) string { return c.category }),
		str("ChargeClass", true, func(_ *focusMonth, c *charge) string { return c.class }),
		str("ChargeDescription", true, func(_ *focusMonth, c *charge) string { return c.description }),
		str("ChargeFrequency", true, func(_ *focusMonth, c *charge) string { return c.frequency }),
		str("InvoiceId", true, func(*focusMonth, *charge) string { return "" }),
		in(FOCUS14, str("InvoiceDetailId", true, func(*focusMonth, *charge) string { return "" })),
		str("InvoiceIssuerName", false, func(m *focusMonth, _ *charge) string { return m.issuer() }),
		in(FOCUS14, str("ServiceProviderName", false, func(m *focusMonth, _ *charge) string { return m.options.Provider })),
		in(FOCUS14, str("HostProviderName", true, func(m *focusMonth, _ *charge) string { return m.options.Provider })),
		in(FOCUS12, str("ProviderName", false, func(m *focusMonth, _ *charge) string { return m.options.Provider })),
		in(FOCUS12, str("PublisherName", false, func(m *focusMonth, _ *charge) string { return m.options.Provider })),
		str("ServiceName", false, func(_ *focusMonth, c *charge) string { return render.ChannelName(c.channel) }),
		str("ServiceCategory", false, func(m *focusMonth, c *charge) string { return m.options.category(c.channel) }),
		str("ServiceSubcategory", true, func(m *focusMonth, c *charge) string { return "Other (" + m.options.category(c.channel) + ")" }),
		str("SubAccountId", true, func(_ *focusMonth, c *charge) string { return c.accountID }),
		str("SubAccountName", true, func(_ *focusMonth, c *charge) string { return c.accountName }),
	}
}

func skuColumns() []focusColumn {
	return []focusColumn{
		dec("PricingQuantity", quantityScale, true, func(c *charge) any { return decOrNull(c.quantity) }),
		str("PricingUnit", true, func(_ *focusMonth, c *charge) string { return c.unit }),
		dec("ConsumedQuantity", quantityScale, true, func(c *charge) any { return decOrNull(c.consumed) }),
		str("ConsumedUnit", true, func(_ *focusMonth, c *charge) string { return c.consumedUnit }),
		dec("ListUnitPrice", priceScale, true, func(c *charge) any { return decOrNull(c.price) }),
		dec("ContractedUnitPrice", priceScale, true, func(c *charge) any { return decOrNull(c.price) }),
		str("SkuId", true, func(_ *focusMonth, c *charge) string { return c.sku }),
		str("SkuPriceId", true, func(_ *focusMonth, c *charge) string { return c.skuPrice }),
		str("SkuMeter", true, func(_ *focusMonth, c *charge) string { return c.meter }),
		asJSON(str("SkuPriceDetails", true, func(_ *focusMonth, c *charge) string { return c.skuDetails })),
		asJSON(str("Tags", true, func(_ *focusMonth, c *charge) string { return c.tags })),
	}
}

func customColumns() []focusColumn {
	number := func(name string, has func(c *charge) bool, of func(c *charge) uint64) focusColumn {
		return focusColumn{column: column{name: name, kind: count}, null: true, of: func(_ *focusMonth, c *charge) any {
			if has(c) {
				return of(c)
			}
			return nil
		}}
	}
	planned, used := func(c *charge) bool { return c.plan != "" }, func(c *charge) bool { return c.category == chargeUsage }
	return []focusColumn{
		str("x_Channel", true, func(_ *focusMonth, c *charge) string { return c.channel }),
		str("x_Direction", true, func(_ *focusMonth, c *charge) string { return c.direction }),
		str("x_DestinationCountry", true, func(_ *focusMonth, c *charge) string { return c.country }),
		str("x_Network", true, func(_ *focusMonth, c *charge) string { return c.network }),
		str("x_MessageCategory", true, func(_ *focusMonth, c *charge) string { return c.messageCategory }),
		str("x_Funding", true, func(_ *focusMonth, c *charge) string { return c.funding }),
		str("x_PricePlanId", true, func(_ *focusMonth, c *charge) string { return c.plan }),
		number("x_PricePlanVersionId", planned, func(c *charge) uint64 { return c.version }),
		number("x_PricePlanRule", planned, func(c *charge) uint64 { return c.rule }),
		number("x_MessageCount", used, func(c *charge) uint64 { return c.messages }),
		dec("x_PurseMovement", costScale, true, func(c *charge) any { return decOrNull(c.moved) }),
		str("x_Reference", true, func(_ *focusMonth, c *charge) string { return c.reference }),
	}
}

// ofVersion are the columns of a version.
func ofVersion(version string) []focusColumn {
	var out []focusColumn
	for _, c := range allFOCUS() {
		if c.only == "" || c.only == version {
			out = append(out, c)
		}
	}
	return out
}

func focusColumns(version string) []column {
	var out []column
	for _, c := range ofVersion(version) {
		out = append(out, c.column)
	}
	return out
}
