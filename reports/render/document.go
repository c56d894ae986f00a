package render

import (
	"strings"
	"time"
)

// Layout of reports and exports: which figures stand where. It rises when a version of
// meterd shows the same figures otherwise, and each document says its own: one of a
// closed month has the same bytes for as long as the layout stays.
//
// 1 is that of documents which say none. 2: late and corrections are sums of their own,
// and an export's amount has no late messages.
const Layout = 2

// Document is a report, ready to be shown.
type Document struct {
	AsOf     time.Time // what its files are dated
	Title    string    // of the page, and the workbook's first sheet's heading
	Subtitle string
	Badge    Badge  // open or closed
	Facts    []Fact // what the report is of
	Cards    []Card // the figures to see at a glance
	Notes    []Note // what the reader must know of its completeness
	Sections []Section
	Footer   string
	Issuer   string // whose name its files have as their maker; "": meterd
	Currency string // of Money cells; "" where there are none
	Digits   int    // decimals of the currency's minor unit
}

// Fact is one labelled text.
type Fact struct{ Label, Value string }

// Card is one large figure.
type Card struct {
	Label, Value string
	Unit         string // of Value: a currency
	Hint         string
	Share        *Share
}

// Share is a bar that fills up: Percent of a limit, may be above 100.
type Share struct {
	Percent int
	Text    string
}

// Level says how a note or a badge is to be taken.
type Level string

// The levels.
const (
	Plain Level = "plain"
	Good  Level = "good"
	Warn  Level = "warn"
	Bad   Level = "bad"
)

// Note is a sentence above the figures.
type Note struct {
	Level Level
	Text  string
}

// Badge is a word in a pill.
type Badge struct {
	Level Level
	Text  string
}

// Section is a part of the page, and a sheet of the workbook.
type Section struct {
	Sheet    string // name of its sheet; "" for a section whose tables join the sheet before
	Title    string
	Subtitle string
	Badge    Badge
	Facts    []Fact
	Shares   []Share
	Charts   []Chart
	Tables   []Table
	Empty    string // said where it has nothing to show
}

// Kind is what a column holds.
type Kind string

// The kinds. All but Text and Time are plain decimals as text, exact.
const (
	Text    Kind = "text"
	Count   Kind = "count"
	Number  Kind = "number"
	Money   Kind = "money"
	Percent Kind = "percent"
	Price   Kind = "price" // of a unit, to eight decimals
	Time    Kind = "time"  // RFC 3339, UTC; of Lines only
)

// Column of a table.
type Column struct {
	Name string
	Kind Kind
}

// Table of a section.
type Table struct {
	Caption string
	Columns []Column
	Rows    []Row
}

// Row of a table. A total is shown apart.
type Row struct {
	Cells  []string
	Levels []Level // by cell; nil: all plain
	Total  bool
}

// Chart is bars side by side, each of one or more parts upon each other.
type Chart struct {
	Caption string
	Series  []string // names of the parts
	Bars    []Bar
	Rows    bool // bars lie: for few, long labels
}

// Beside stands between a name and its id in a label.
const Beside = " · "

// Bar of a chart: one value for each series, as plain decimals.
type Bar struct {
	Label  string // may be a name and, behind Beside, its id
	Values []string
	Text   string // shown with the bar
}

// ChannelName is a channel as people write it.
func ChannelName(channel string) string {
	switch channel {
	case "sms", "mms", "rcs":
		return strings.ToUpper(channel)
	case "whatsapp":
		return "WhatsApp"
	case "":
		return "Other"
	}
	return strings.ToUpper(channel[:1]) + channel[1:]
}
