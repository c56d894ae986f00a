package reports

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// browser starts a headless Chromium for a test.
func browser(t *testing.T) context.Context {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	require.NotEmpty(t, path, "Chromium is missing: run `deploy/setup.sh --tests`")
	// A container's user may have no sandbox; the pages are our own.
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()),
		chromedp.WSURLReadTimeout(2*time.Minute))
	allocated, stop := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(stop)
	ctx, cancel := chromedp.NewContext(allocated)
	t.Cleanup(cancel)
	require.NoError(t, chromedp.Do(ctx))
	return ctx
}

// seen is what went on while a page was shown.
type seen struct {
	mu       sync.Mutex
	requests []string
	errors   []string
}

func (s *seen) listen(t *testing.T, ctx context.Context) {
	t.Helper()
	require.NoError(t, chromedp.Listen(ctx, func(ev any) {
		s.mu.Lock()
		defer s.mu.Unlock()
		switch ev := ev.(type) {
		case *network.EventRequestWillBeSent:
			s.requests = append(s.requests, ev.Request.URL)
		case *runtime.EventExceptionThrown:
			s.errors = append(s.errors, ev.ExceptionDetails.Text)
		case *log.EventEntryAdded:
			s.errors = append(s.errors, ev.Entry.Text)
		}
	}))
	_, err := chromedp.Call(ctx, network.Enable, network.EnableParams{})
	require.NoError(t, err)
	_, err = chromedp.Call(ctx, log.Enable, cdp.Empty{})
	require.NoError(t, err)
	_, err = chromedp.Call(ctx, runtime.Enable, cdp.Empty{})
	require.NoError(t, err)
}

// picture keeps what a page looks like beside what -look writes.
func picture(t *testing.T, tab context.Context, name string, width int64, scheme string) {
	t.Helper()
	if *look == "" {
		return
	}
	require.NoError(t, chromedp.Do(tab, chromedp.EmulateViewport(width, map[int64]int64{1200: 1080, 390: 1180}[width])))
	b, err := chromedp.Run(tab, chromedp.CaptureScreenshot())
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(*look, 0o750))
	require.NoError(t, os.WriteFile(filepath.Join(*look, fmt.Sprintf("%s-%d-%s.png", name, width, scheme)), b, 0o600))
}

// noticesHarm makes sure that a page which fails and asks for more is found out.
func noticesHarm(t *testing.T, ctx context.Context) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bad.html")
	require.NoError(t, os.WriteFile(path, []byte(`<script>throw "x"</script><img src="http://127.0.0.1:9/x">`), 0o600))
	tab, end := chromedp.NewContext(ctx)
	defer end()
	require.NoError(t, chromedp.Do(tab))
	var got seen
	got.listen(t, tab)
	require.NoError(t, chromedp.Do(tab, chromedp.Navigate("file://"+path)))
	got.mu.Lock()
	defer got.mu.Unlock()
	require.NotEmpty(t, got.errors)
	require.Contains(t, got.requests, "http://127.0.0.1:9/x")
}

// The page in a browser: nothing fails or is asked for from outside, it follows
// the reader's setting, and fits a desk and a phone.
func TestHTMLInABrowser(t *testing.T) {
	t.Parallel()
	w, _ := seeded(t)
	ctx := browser(t)
	noticesHarm(t, ctx)
	for _, q := range []Request{{Parent: "acme"}, {Audience: "globex-shop"}, {Parent: "globex", Redacted: true}, {Parent: "acme", Kind: KindWallet}} {
		q.Formats, q.Out, q.Period = []string{FormatHTML}, t.TempDir(), "2026-11"
		list, err := w.reporter().Run(t.Context(), q)
		require.NoError(t, err)
		address := "file://" + filepath.ToSlash(list[0].Path)
		tab, end := chromedp.NewContext(ctx)
		var got seen
		require.NoError(t, chromedp.Do(tab))
		got.listen(t, tab)
		grounds := map[string]string{}
		for _, width := range []int64{1200, 390} {
			for _, scheme := range []string{"light", "dark"} {
				_, err := chromedp.Call(tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
					Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
				})
				require.NoError(t, err)
				require.NoError(t, chromedp.Do(tab, chromedp.EmulateViewport(width, 900), chromedp.Navigate(address)))
				ground, err := chromedp.Run(tab, chromedp.Evaluate[string](`getComputedStyle(document.body).backgroundColor`))
				require.NoError(t, err)
				wide, err := chromedp.Run(tab, chromedp.Evaluate[int](`document.documentElement.scrollWidth - document.documentElement.clientWidth`))
				require.NoError(t, err)
				pictures, err := chromedp.Run(tab, chromedp.Evaluate[int](`[...document.querySelectorAll("svg rect, .bar .fill")].filter(x => x.getBoundingClientRect().height > 0).length`))
				require.NoError(t, err)
				title, err := chromedp.Run(tab, chromedp.Title())
				require.NoError(t, err)
				require.Zero(t, wide, "%s at %d px is wider than the page by that", address, width)
				require.NotZero(t, pictures)
				picture(t, tab, filepath.Base(list[0].Path), width, scheme)
				require.NotEmpty(t, title)
				if was := grounds[scheme]; was != "" {
					require.Equal(t, was, ground)
				}
				grounds[scheme] = ground
			}
		}
		require.NotEqual(t, grounds["light"], grounds["dark"], "it follows the reader's setting")
		end()
		got.mu.Lock()
		require.Empty(t, got.errors)
		for _, r := range got.requests {
			require.Equal(t, address, r, "only the page itself is loaded")
		}
		require.NotEmpty(t, got.requests)
		got.mu.Unlock()
	}
}
