package reports

import (
	"cmp"
	"fmt"
	"html/template"
	"path/filepath"
	"strings"
	"time"

	"github.com/meterd/meterd/internal/destination"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/ledger"
)

// Letter is what a mail says beside its attachments. It holds no figure of the
// report, whoever reads it.
type Letter struct {
	Subject, Text, HTML string
	Sender              string // the name of who bills the parent, to that parent alone
}

// Enclosure is a file that a letter tells of.
type Enclosure struct {
	Name     string
	Attached bool
	Places   []string // where it lies otherwise, for readers who may know
}

// letterData is all that a letter is made of.
type letterData struct {
	Title    string
	Attached []string
	Else     []Enclosure
}

// NewLetter writes to the reader of a run, whose files were made when its month was
// closed or not. Only a parent learns where files lie: a folder's or a bucket's name may
// tell of accounts.
func (r *Reporter) NewLetter(run *ledger.ReportRun, closed bool, files []Enclosure) (*Letter, error) {
	_, reader, err := r.audience(Request{Parent: run.ParentID, Audience: run.Audience})
	if err != nil {
		return nil, err
	}
	d := letterData{Title: fmt.Sprintf("%s for %s: %s", reportWord(run, reader), periodTitle(run.Period, closed), reader.Name)}
	if reader.Name != reader.ID {
		d.Title += " (" + reader.ID + ")"
	}
	for _, f := range files {
		if f.Attached {
			d.Attached = append(d.Attached, f.Name)
			continue
		}
		if !reader.IsParent() {
			f.Places = nil
		}
		d.Else = append(d.Else, f)
	}
	page, err := d.html()
	if err != nil {
		return nil, err
	}
	l := &Letter{Subject: d.Title, Text: d.text(), HTML: page}
	if reader.IsParent() && !run.Redacted {
		l.Sender = nameOf(reader.Issuer)
	}
	return l, nil
}

// reportWord is what a run's report is, for people.
func reportWord(run *ledger.ReportRun, reader *metering.Account) string {
	switch {
	case run.Kind == KindMessages:
		return "Messages"
	case run.Kind == KindWallet:
		return "Wallet"
	case reader.IsParent() && run.Redacted:
		return "Activity of all accounts, without amounts,"
	case run.Redacted || !reader.IsParent() && reader.Audience() != metering.AudienceEnterprise:
		return "Activity"
	}
	return "Statement"
}

// periodTitle says of a month whether it is closed.
func periodTitle(period string, closed bool) string {
	word := monthWord(period)
	if word == period || strings.Contains(period, "..") {
		return word
	}
	return word + ", " + closedWord(closed)
}

const askForIt = "ask whoever has this report sent to you"

func (d *letterData) text() string {
	var b strings.Builder
	b.WriteString(d.Title + "\n")
	if len(d.Attached) > 0 {
		b.WriteString("\nAttached:\n")
		for _, name := range d.Attached {
			b.WriteString("- " + name + "\n")
		}
	}
	if len(d.Else) > 0 {
		b.WriteString("\nToo large for mail:\n")
		for _, f := range d.Else {
			where := strings.Join(f.Places, ", ")
			if where == "" {
				where = askForIt
			}
			b.WriteString("- " + f.Name + ": " + where + "\n")
		}
	}
	return b.String()
}

// letterPage is self-contained and follows the reader's light or dark setting.
const letterPage = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="color-scheme" content="light dark"><title>{{.Title}}</title></head>
<body style="font-family:system-ui,sans-serif;line-height:1.5;margin:1.5em">
<h1 dir="auto" style="font-size:1.25em">{{.Title}}</h1>
{{- with .Attached}}
<p>Attached:</p>
<ul>{{range .}}<li dir="auto">{{.}}</li>{{end}}</ul>
{{- end}}
{{- with .Else}}
<p>Too large for mail:</p>
<ul>{{range .}}<li dir="auto">{{.Name}}: {{range $i, $p := .Places}}{{if $i}}, {{end}}{{$p}}{{else}}` + askForIt + `{{end}}</li>{{end}}</ul>
{{- end}}
</body></html>
`

func (d *letterData) html() (string, error) {
	page, err := template.New("letter").Parse(letterPage)
	if err != nil {
		return "", fmt.Errorf("write a letter: %w", err)
	}
	var b strings.Builder
	if err := page.Execute(&b, d); err != nil {
		return "", fmt.Errorf("write a letter: %w", err)
	}
	return b.String(), nil
}

// NoticeFile is a file of a run, in a webhook.
type NoticeFile struct {
	Name   string `json:"name"`
	Format string `json:"format"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// AccountNotice tells a webhook of a sub-account's report: nothing of its parent
// or of where its parent has reports sent.
type AccountNotice struct {
	Run      string       `json:"run"`
	Period   string       `json:"period"`
	Audience string       `json:"audience"`
	State    string       `json:"state"`
	Files    []NoticeFile `json:"files"`
}

// ParentNotice tells a webhook of a parent's own report.
type ParentNotice struct {
	Run      string       `json:"run"`
	Parent   string       `json:"parent"`
	Name     string       `json:"name"`
	Period   string       `json:"period"`
	Audience string       `json:"audience"`
	State    string       `json:"state"`
	DueAt    time.Time    `json:"due_at"`
	Files    []ParentFile `json:"files"`
}

// ParentFile says too where a file lies.
type ParentFile struct {
	NoticeFile

	Places []string `json:"places"`
}

// NewNotice is a webhook's data, as the reader of the report may have it.
func NewNotice(run *ledger.ReportRun, files []File, state string, places func(file string) []string) any {
	list := make([]NoticeFile, len(files))
	for i, f := range files {
		list[i] = NoticeFile{Name: filepath.Base(f.Path), Format: f.Format, Bytes: f.Bytes, SHA256: f.SHA256}
	}
	if run.Audience != AudienceParent {
		return AccountNotice{Run: run.Run, Period: run.Period, Audience: run.Audience, State: state, Files: list}
	}
	n := ParentNotice{
		Run: run.Run, Parent: run.ParentID, Name: run.Name, Period: run.Period, Audience: run.Audience, State: state, DueAt: run.DueAt.UTC(),
		Files: make([]ParentFile, len(list)),
	}
	for i, f := range list {
		n.Files[i] = ParentFile{NoticeFile: f, Places: append([]string{}, places(f.Name)...)}
	}
	return n
}

// Places are where a run's file has been put.
func (d *RunDetail) Places(file string) []string {
	var out []string
	for i := range d.Destinations {
		x := &d.Destinations[i]
		if a, err := destination.Parse(x.To); err == nil && a.Stores() && x.State == ledger.RunDelivered {
			out = append(out, a.Place(file))
		}
	}
	return out
}

// ScheduleOf a run, as it is now; an empty one if it is no more.
func ScheduleOf(snap *metering.Snapshot, run *ledger.ReportRun) metering.Schedule {
	if a := snap.Accounts[cmp.Or(run.Owner, run.ParentID)]; a != nil {
		for _, s := range a.Reports {
			if s.Name == run.Name {
				return s
			}
		}
	}
	return metering.Schedule{}
}
