package reporting

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	netmail "net/mail"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/notify/notifytest"
	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/reports"
)

// outside are the servers that reports go to.
type outside struct {
	box    *notifytest.Postbox
	hooks  *httptest.Server
	bucket *httptest.Server
	store  *s3mem.Backend

	mu     sync.Mutex
	bodies []string // of hooks
	status int
}

func newOutside(t *testing.T, s *scheduled) *outside {
	t.Helper()
	o := &outside{store: s3mem.New(), status: http.StatusNoContent}
	o.box, s.mail = notifytest.NewPostbox(t)
	require.NoError(t, o.store.CreateBucket("reports"))
	o.bucket = httptest.NewServer(gofakes3.New(o.store).Server())
	t.Cleanup(o.bucket.Close)
	o.hooks = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		wh, err2 := standardwebhooks.NewWebhook(hookSecret)
		if err := errors.Join(err, err2, wh.VerifyIgnoringTimestamp(body, r.Header)); err != nil {
			t.Errorf("the receiver can't verify: %v", err)
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		o.bodies = append(o.bodies, string(body))
		w.WriteHeader(o.status)
	}))
	t.Cleanup(o.hooks.Close)
	s.runner = s.scheduler()
	return o
}

func (o *outside) answer(status int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.status = status
}

func (o *outside) messages() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.bodies)
}

// opened has a letter's headers and parts, decoded; attachments as "[name]".
func opened(t *testing.T, letter string) string {
	t.Helper()
	m, err := netmail.ReadMessage(strings.NewReader(letter))
	require.NoError(t, err)
	var out strings.Builder
	for k, v := range m.Header {
		text, err := new(mime.WordDecoder).DecodeHeader(strings.Join(v, " "))
		require.NoError(t, err)
		fmt.Fprintf(&out, "%s: %s\n", k, text)
	}
	var walk func(kind, encoding, name string, r io.Reader)
	walk = func(kind, encoding, name string, r io.Reader) {
		kind, params, err := mime.ParseMediaType(kind)
		require.NoError(t, err)
		if strings.HasPrefix(kind, "multipart/") {
			for mr := multipart.NewReader(r, params["boundary"]); ; {
				p, err := mr.NextPart()
				if errors.Is(err, io.EOF) {
					return
				}
				require.NoError(t, err)
				walk(p.Header.Get("Content-Type"), p.Header.Get("Content-Transfer-Encoding"), p.FileName(), p)
			}
		}
		if encoding == "base64" {
			r = base64.NewDecoder(base64.StdEncoding, r)
		}
		b, err := io.ReadAll(r)
		require.NoError(t, err)
		if name != "" {
			out.WriteString("[" + name + "]\n")
		}
		out.Write(b)
	}
	walk(m.Header.Get("Content-Type"), m.Header.Get("Content-Transfer-Encoding"), "", m.Body)
	return strings.ReplaceAll(out.String(), "\r\n", "\n")
}

// Everything that comes out for a reseller's sub-account, by every way, tells
// nothing of its parent, of siblings, or of where else reports go.
func TestDeliveriesByEveryWay(t *testing.T) {
	t.Parallel()
	s := newScheduled(t)
	o := newOutside(t, s)
	dir := t.TempDir()
	hook := o.hooks.URL + "/zhook-canary"
	s.apply(2, metering.Schedule{
		Name: "zname-canary", Cron: "0 6 * * *", Period: reports.PeriodYesterday, Audiences: []string{"parent", "each"}, Formats: []string{"csv", "html"},
		Deliver: []string{"file:" + dir, "s3://reports/zprefix-canary?endpoint=" + o.bucket.URL, "mailto:one@x.example", "mailto:two@x.example", hook},
		Secrets: map[string]metering.SecretRef{hook: {Env: "REPORT_HOOK"}},
	})
	s.at("2026-10-21T04:00:00Z")
	s.tries()
	require.Equal(t, []string{ledger.RunDelivered, ledger.RunDelivered}, s.ended)
	for _, r := range s.runs() {
		for _, d := range reports.Info(&r).Destinations {
			require.Equal(t, 1, d.Attempts, d.To)
		}
	}
	files := []string{"acme-2026-10-20-statement.csv", "acme-2026-10-20-statement.html", "acme-shop-2026-10-20-activity.csv", "acme-shop-2026-10-20-activity.html"}
	var keys, names []string
	list, err := o.store.ListBucket("reports", nil, gofakes3.ListBucketPage{})
	require.NoError(t, err)
	for _, x := range list.Contents {
		keys = append(keys, strings.TrimPrefix(x.Key, "zprefix-canary/"))
	}
	got, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, x := range got {
		names = append(names, x.Name())
	}
	require.Equal(t, files, names)
	require.ElementsMatch(t, files, keys)

	require.Len(t, o.box.Letters(), 4)
	canaries := []string{
		"Acme", "zname-canary", "zprefix-canary", "zhook-canary", dir, "two@x.example", "s3:", "s3-canary-secret", "AKIDCANARY", "whsec_", "EUR", "statement",
	}
	mails, hooks := 0, 0
	for _, letter := range o.box.Letters() {
		text := opened(t, letter)
		require.Contains(t, text, "Message-Id: <report_")
		if !strings.Contains(text, "Activity for 2026-10-20: Shop (acme-shop)") {
			require.Contains(t, text, "Statement for 2026-10-20: Acme (acme)")
			continue
		}
		mails++
		require.Contains(t, text, "[acme-shop-2026-10-20-activity.csv]")
		text = strings.ReplaceAll(text, "To: <two@x.example>", "")
		lacksAll(t, strings.ReplaceAll(text, "acme-shop", ""), append(canaries, "acme"))
	}
	for _, body := range o.messages() {
		var m struct {
			Type string
			Data map[string]any
		}
		require.NoError(t, json.Unmarshal([]byte(body), &m))
		require.Equal(t, "report.ready", m.Type)
		if m.Data["audience"] == "parent" {
			require.Contains(t, body, dir+"/acme-2026-10-20-statement.csv")
			require.Contains(t, body, "s3://reports/zprefix-canary/acme-2026-10-20-statement.csv")
			continue
		}
		hooks++
		require.Len(t, m.Data["files"], 2)
		lacksAll(t, strings.ReplaceAll(body, "acme-shop", ""), append(canaries, "acme", "places"))
	}
	require.Equal(t, []int{2, 1}, []int{mails, hooks})
	lacksAll(t, s.log.String(), []string{"zhook-canary", "zprefix-canary", "x.example", "s3-canary-secret", "AKIDCANARY", "whsec_", dir})
}

func lacksAll(t *testing.T, text string, words []string) {
	t.Helper()
	for _, c := range words {
		if i := strings.Index(text, c); i >= 0 {
			require.Failf(t, "found what must not be there", "%q in …%s…", c, text[max(0, i-80):min(len(text), i+80)])
		}
	}
}

// Errors and logs of what goes wrong show neither secrets nor addresses.
func TestFailedDeliveriesTellNoSecret(t *testing.T) {
	t.Parallel()
	s := newScheduled(t)
	o := newOutside(t, s)
	o.bucket.Close()
	o.answer(http.StatusInternalServerError)
	o.box.Refuse(true)
	dir := filepath.Join(t.TempDir(), "zdir-canary")
	require.NoError(t, os.WriteFile(dir, nil, 0o600))
	bad, unsigned := o.hooks.URL+"/ztoken-canary", o.hooks.URL+"/zother-canary"
	s.apply(2, metering.Schedule{
		Name: "x", Cron: "0 6 * * *", Period: reports.PeriodYesterday, Formats: []string{"csv"},
		Deliver: []string{"file:" + dir, "s3://reports/zprefix-canary?endpoint=" + o.bucket.URL, "mailto:zreader@x.example", bad, unsigned},
		Secrets: map[string]metering.SecretRef{bad: {Env: "REPORT_HOOK"}, unsigned: {Env: "REPORT_HOOK_EMPTY"}},
	})
	s.at("2026-10-21T04:00:00Z")
	s.tries()
	run := s.runs()[0]
	require.Equal(t, ledger.RunFailed, run.State)
	var details strings.Builder
	for _, d := range reports.Info(&run).Destinations {
		require.Equal(t, ledger.RunFailed, d.State)
		want := 3
		if d.To == unsigned {
			want = 1
			require.Contains(t, d.Detail, "environment variable REPORT_HOOK_EMPTY is empty or missing")
		}
		require.Equal(t, want, d.Attempts, d.Detail)
		details.WriteString(d.Detail + "\n")
	}
	lacksAll(t, details.String()+s.log.String(), []string{
		"zdir-canary", "zprefix-canary", "zreader", "ztoken-canary", "zother-canary", "s3-canary-secret", "AKIDCANARY", "whsec_",
	})
}

func TestFilesTooLargeForMail(t *testing.T) {
	t.Parallel()
	s := newScheduled(t)
	s.opts.AttachMax = 10
	o := newOutside(t, s)
	dir := t.TempDir()
	each := []string{"parent", "acme-shop"}
	s.apply(2,
		metering.Schedule{Name: "with", Cron: "0 6 * * *", Period: reports.PeriodYesterday, Audiences: each, Formats: []string{"csv"}, Deliver: []string{"mailto:with@x.example", "file:" + dir}},
		metering.Schedule{Name: "without", Cron: "0 6 * * *", Period: reports.PeriodYesterday, Audiences: each, Formats: []string{"csv"}, Deliver: []string{"mailto:without@x.example"}},
		metering.Schedule{Name: "lost", Cron: "0 6 * * *", Period: reports.PeriodYesterday, Formats: []string{"csv"}, Deliver: []string{"mailto:lost@x.example", "file:/dev/null/x"}},
	)
	s.at("2026-10-21T04:00:00Z")
	s.tries()
	for _, r := range s.runs() {
		info := reports.Info(&r)
		want := map[string]string{"with": ledger.RunDelivered, "without": ledger.RunTruncated, "lost": ledger.RunFailed}[r.Name]
		require.Equal(t, want, r.State, r.Name)
		require.Equal(t, r.Name != "with", len(info.LeftOut) == 1, r.Name)
		for _, d := range info.Destinations {
			if strings.HasPrefix(d.To, "mailto:") {
				require.Equal(t, ledger.RunDelivered, d.State, "with or without the file")
				require.Equal(t, 1, d.Attempts, "waiting for a copy is no try")
			}
		}
	}
	require.Len(t, o.box.Letters(), 5)
	for _, letter := range o.box.Letters() {
		text := opened(t, letter)
		require.NotContains(t, text, "[acme")
		require.Contains(t, text, "Too large for mail:\n- acme-")
		named := strings.Contains(text, "statement.csv: file:"+dir+"/acme-2026-10-20-statement.csv")
		require.Equal(t, strings.Contains(text, "with@x.example") && strings.Contains(text, ": Acme"), named, text)
		require.Equal(t, !named, strings.Contains(text, "ask whoever has this report sent to you"))
	}
}

// A receiver that has answered 410 is asked no more, until its run is resent.
func TestAGoneWebhookIsLeftAlone(t *testing.T) {
	t.Parallel()
	s := newScheduled(t)
	o := newOutside(t, s)
	o.answer(http.StatusGone)
	s.apply(2, metering.Schedule{
		Name: "x", Cron: "0 6 * * *", Period: reports.PeriodYesterday, Formats: []string{"json"}, Deliver: []string{o.hooks.URL},
		Secrets: map[string]metering.SecretRef{o.hooks.URL: {Env: "REPORT_HOOK"}},
	})
	for day := range 3 {
		s.at(fmt.Sprintf("2026-10-%dT04:00:00Z", 21+day))
		s.tries()
	}
	require.Len(t, o.messages(), 1)
	runs := s.runs()
	require.Len(t, runs, 3)
	for _, r := range runs {
		d := reports.Info(&r).Destinations[0]
		require.Equal(t, []any{ledger.RunFailed, 1, true}, []any{d.State, d.Attempts, d.Gone}, d.Detail)
	}
	o.answer(http.StatusOK)
	s.clock.Advance(time.Minute)
	_, err := s.runner.Resend(t.Context(), runs[1].Run, true)
	require.NoError(t, err)
	s.tries()
	require.Len(t, o.messages(), 2)
	s.at("2026-10-24T04:00:00Z")
	s.tries()
	require.Len(t, o.messages(), 3, "it takes them again")
}

// A sub-account's own schedule is of its own report, whatever its parent's are
// named; each stands for every sub-account that was open in the period.
func TestOwnSchedulesAndEach(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := newScheduled(t)
	s.own = []metering.Schedule{{Name: "x", Cron: "0 6 * * *", Period: reports.PeriodYesterday, Formats: []string{"csv"}, Deliver: []string{"file:" + dir + "/own"}}}
	s.apply(2, metering.Schedule{Name: "x", Cron: "0 6 * * *", Period: reports.PeriodYesterday, Audiences: []string{"each", "each"}, Formats: []string{"csv"}, Deliver: []string{"file:" + dir + "/each"}})
	s.at("2026-10-21T04:00:00Z")
	s.tries()
	runs := s.runs()
	require.Len(t, runs, 2)
	owners := []string{runs[0].Owner, runs[1].Owner}
	slices.Sort(owners)
	require.Equal(t, []string{"", "acme-shop"}, owners)
	for _, r := range runs {
		require.Equal(t, []string{"acme", "acme-shop", ledger.RunDelivered}, []string{r.ParentID, r.Audience, r.State})
	}
	require.FileExists(t, dir+"/own/acme-shop-2026-10-20-activity.csv")
	require.FileExists(t, dir+"/each/acme-shop-2026-10-20-activity.csv")

	closed := s.clock.Now()
	s.snap.Accounts["acme-shop"].ClosedAt = &closed
	s.at("2026-10-22T04:00:00Z")
	require.Len(t, s.runs(), 3, "the last day before it closed; its own schedule ends with it")
	s.at("2026-10-23T04:00:00Z")
	require.Len(t, s.runs(), 3)
}

// Two schedulers make one run and one task of each instant, and a sweep adds none.
func TestTwoSchedulersMakeOneRun(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := newScheduled(t, metering.Schedule{Name: "x", Cron: "0 * * * *", Period: reports.PeriodMonthToDate, Formats: []string{"csv"}, Deliver: []string{"file:" + dir}})
	s.clock.Set(time.Date(2026, 10, 20, 20, 0, 0, 0, time.UTC))
	two := []*Runner{s.runner, s.scheduler(), s.scheduler()}
	for range 3 {
		var wg sync.WaitGroup
		for _, r := range two {
			wg.Go(func() {
				if err := r.Due(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		s.clock.Advance(20 * time.Second)
	}
	require.Len(t, s.runs(), 12)
	info, err := s.queue.GetQueueInfo(wire.QueueReports)
	require.NoError(t, err)
	require.Equal(t, 12, info.Pending)
	s.tries()
	require.Len(t, s.ended, 12)
	// A scheduler that starts anew finds nothing to do.
	require.NoError(t, s.scheduler().Due(t.Context()))
	info, err = s.queue.GetQueueInfo(wire.QueueReports)
	require.NoError(t, err)
	require.Zero(t, info.Size)
}
