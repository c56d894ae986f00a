package ledger

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Dimension is what usage is grouped by: one of the constants, or tagPrefix
// with the key of a tag.
type Dimension string

// The dimensions. Day, month and hour are of UsageQuery.Zone.
const (
	DimAccount     Dimension = "account"
	DimParent      Dimension = "parent"
	DimMonth       Dimension = "month"  // 2026-11
	DimDay         Dimension = "day"    // 2026-11-05
	DimHour        Dimension = "hour"   // 2026-11-05T13:00:00+01:00, the start of the local hour
	DimPeriod      Dimension = "period" // of occurred_at, in the parent's calendar
	DimBooked      Dimension = "booked" // the period whose bill it is in
	DimChannel     Dimension = "channel"
	DimDirection   Dimension = "direction"
	DimCountry     Dimension = "country"
	DimNetwork     Dimension = "network"
	DimCategory    Dimension = "category"
	DimUnit        Dimension = "unit"
	DimCurrency    Dimension = "currency"
	DimPurse       Dimension = "purse"
	DimPlan        Dimension = "plan"
	DimPlanVersion Dimension = "plan_version"
	DimRule        Dimension = "rule"
	DimStatus      Dimension = "status"     // a message's latest
	DimErrorCode   Dimension = "error_code" // that came with the latest status
)

// tagPrefix makes a dimension of a tag: tag:campaign.
const tagPrefix = "tag:"

// tagKeyMax is the longest key of a tag, in bytes (docs/domain.md, Usage records).
const tagKeyMax = 64

// dimensionsMax bounds the dimensions of one query.
const dimensionsMax = 20

// expression is how a dimension is read: column is grouped and sorted by, text
// is what it reads as ("?" stands for the column), "" for the column itself.
type expression struct{ column, text string }

// expressions of the dimensions, by the names of a row r. Only these texts get into a
// query; all else is a parameter.
var expressions = map[Dimension]expression{ //nolint:gochecknoglobals // a constant table
	DimAccount:  {"r.account_id", ""},
	DimParent:   {"r.parent_id", ""},
	DimMonth:    {"toYYYYMM(r.occurred_at, {zone:String})", "concat(toString(intDiv(?, 100)), '-', leftPad(toString(? % 100), 2, '0'))"},
	DimDay:      {"toDate32(r.occurred_at, {zone:String})", "toString(?)"},
	DimPeriod:   {"r.period", ""},
	DimBooked:   {"r.booked", ""},
	DimChannel:  {"r.channel", ""},
	DimCountry:  {"r.country", ""},
	DimNetwork:  {"r.network", ""},
	DimCategory: {"r.category", ""},
	DimUnit:     {"r.unit", ""},
	DimCurrency: {"r.currency", ""},
	DimPlan:     {"r.plan", ""},
	// Enumerations sort by their names, like everything else.
	DimDirection:   {"toString(r.direction)", ""},
	DimPurse:       {"toString(r.purse)", ""},
	DimPlanVersion: {"r.plan_version", "toString(?)"},
	DimRule:        {"r.rule", "toString(?)"},
	DimStatus:      {"r.latest_status", ""},
	DimErrorCode:   {"r.latest_error", ""},
	// The instant at which the local hour starts, with the offset: an hour that
	// comes twice is two, in their order. (timeZoneOffset is wrong for +14:00.)
	DimHour: {
		"(toInt64(toUnixTimestamp(r.occurred_at)) - toMinute(r.occurred_at, {zone:String}) * 60 - toSecond(r.occurred_at, {zone:String})," +
			" toInt64(toInt32(toDate32(r.occurred_at, {zone:String}))) * 86400 + toHour(r.occurred_at, {zone:String}) * 3600" +
			" + toMinute(r.occurred_at, {zone:String}) * 60 + toSecond(r.occurred_at, {zone:String}) - toUnixTimestamp(r.occurred_at))",
		"concat(toString(tupleElement(?, 1)), ' ', toString(tupleElement(?, 2)))",
	},
}

// tag is the key of a tag's dimension.
func (d Dimension) tag() (string, bool) { return strings.CutPrefix(string(d), tagPrefix) }

// check tells what is wrong with a dimension.
func (d Dimension) check() error {
	if key, ok := d.tag(); ok {
		if key == "" || len(key) > tagKeyMax {
			return fmt.Errorf("dimension %q: name the tag by a key of 1 to %d bytes, for example tag:campaign", string(d), tagKeyMax)
		}
		return nil
	}
	if _, ok := expressions[d]; ok {
		return nil
	}
	names := make([]string, 0, len(expressions))
	for k := range expressions {
		names = append(names, string(k))
	}
	slices.Sort(names)
	return fmt.Errorf("unknown dimension %q: give some of %s, %sKEY", string(d), strings.Join(names, ", "), tagPrefix)
}

// ParseDimensions reads a list such as "account,day,tag:campaign". The empty
// string is none.
func ParseDimensions(s string) ([]Dimension, error) {
	if s == "" {
		return nil, nil
	}
	var list []Dimension
	for part := range strings.SplitSeq(s, ",") {
		d := Dimension(strings.TrimSpace(part))
		if d == "" {
			return nil, fmt.Errorf("dimensions %q: an empty name between commas", s)
		}
		list = append(list, d)
	}
	if err := checkDimensions(list); err != nil {
		return nil, err
	}
	return list, nil
}

func checkDimensions(list []Dimension) error {
	if len(list) > dimensionsMax {
		return fmt.Errorf("%d dimensions: give at most %d", len(list), dimensionsMax)
	}
	for i, d := range list {
		if err := d.check(); err != nil {
			return err
		}
		if slices.Contains(list[:i], d) {
			return fmt.Errorf("dimension %q: named twice", string(d))
		}
	}
	return nil
}

// grouping is the text by which a query groups, with its parameters.
type grouping struct {
	columns string // "expression AS k0, …, "
	group   string // "k0, …, "
	keys    string // an Array(String) of the texts
	params  map[string]string
}

// groupBy writes the grouping. The dimensions have been checked.
func groupBy(by []Dimension, zone string) grouping {
	g := grouping{params: map[string]string{}}
	texts := make([]string, 0, len(by))
	for i, d := range by {
		e := expressions[d]
		if key, ok := d.tag(); ok {
			p := "tag" + strconv.Itoa(i)
			g.params[p] = key
			e.column = "r.tags[{" + p + ":String}]"
		}
		name := "k" + strconv.Itoa(i)
		g.columns += e.column + " AS " + name + ", "
		g.group += name + ", "
		if e.text == "" {
			e.text = "toString(?)"
		}
		texts = append(texts, strings.ReplaceAll(e.text, "?", name))
	}
	g.keys = "CAST([" + strings.Join(texts, ", ") + "] AS Array(String))"
	if strings.Contains(g.columns, "{zone:String}") {
		g.params["zone"] = zone
	}
	return g
}

// zoneName is that of a query's zone. Nil: UTC.
func zoneName(zone *time.Location) string {
	if zone == nil {
		return "UTC"
	}
	return zone.String()
}

// hourTexts turns the hours among a group's keys into what they read as.
func hourTexts(keys []string, by []Dimension) error {
	for i, d := range by {
		if d != DimHour {
			continue
		}
		var err error
		if keys[i], err = hourText(keys[i]); err != nil {
			return err
		}
	}
	return nil
}

// hourText turns "instant offset" into the RFC 3339 form of a local hour.
func hourText(s string) (string, error) {
	var instant int64
	var offset int
	if _, err := fmt.Sscanf(s, "%d %d", &instant, &offset); err != nil {
		return "", fmt.Errorf("hour %q: %w", s, err)
	}
	return time.Unix(instant, 0).In(time.FixedZone("", offset)).Format(time.RFC3339), nil
}
