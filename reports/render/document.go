package render

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Layout of reports and exports: which figures stand where. It rises when a version of
// meterd shows the same figures otherwise, and each document says its own: one of a
// closed month has the same bytes for as long as the layout stays.
//
// 1 is that of documents which say none. 2: late and corrections are sums of their own,
// and an export's amount has no late messages.
// 3: messages too have late ones in a column of their own; a purse's sums are told apart;
// a parent's totals by channel, country, campaign and day.
const Layout = 3

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
	// AllDetails has the accounts' details in the PDF too, however many they are.
	AllDetails bool
}

// maker is whose name a file has.
func (d *Document) maker() string { return cmp.Or(d.Issuer, "meterd") }

// Fact is one labelled text.
type Fact struct {
	Label, Value string
	Figure       Figure
}

// Figure is what a text says, to count with; none where Exact is "".
type Figure struct {
	Kind  Kind
	Exact string // as a table's cell
	Unit  string // a currency
}

// Card is one large figure.
type Card struct {
	Label, Value string
	Unit         string // of Value: a currency
	Hint         string
	Share        *Share
	Figure       Figure
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
	Details  string // the account whose details these are, in a document about several; else ""
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

// The kinds. All but Text, Date and Time are plain decimals as text, exact.
const (
	Text    Kind = "text"
	Date    Kind = "date" // 2026-11-05, or with a time: 2026-11-05 14:00 CET; any other text too
	Count   Kind = "count"
	Number  Kind = "number"
	Money   Kind = "money"
	Percent Kind = "percent"
	Price   Kind = "price" // of a unit, to eight decimals
	Time    Kind = "time"  // RFC 3339, UTC; of Lines only
)

// numeric tells figures from texts.
func (k Kind) numeric() bool { return k != Text && k != Date }

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
	Open    bool // shown unfolded, however long
}

// Row of a table. A total is shown apart.
type Row struct {
	Cells   []string
	Levels  []Level // by cell; nil: all plain
	Total   bool
	Details string // the account whose details it leads to
}

// How many accounts' details a reader meets at once.
const (
	// OpenDetails: beyond so many they are folded in HTML, and left out of the PDF.
	OpenDetails = 12
	// DetailSheets: beyond so many a workbook has one sheet for all of a kind.
	DetailSheets = 50
)

// details is of how many accounts it has them.
func (d *Document) details() int {
	n := 0
	for i := range d.Sections {
		if d.Sections[i].Details != "" {
			n++
		}
	}
	return n
}

// brief is the document without the details of accounts, where they are many and not
// asked for.
func (d *Document) brief() *Document {
	n := d.details()
	if d.AllDetails || n <= OpenDetails {
		return d
	}
	out := *d
	out.Notes = append(slices.Clone(d.Notes), Note{Level: Plain, Text: "The details of " + strconv.Itoa(n) +
		" accounts aren't here, for they are many. They are in this report as HTML and XLSX, and in a PDF with all details."})
	out.Sections = slices.DeleteFunc(slices.Clone(d.Sections), func(s Section) bool { return s.Details != "" })
	return &out
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
