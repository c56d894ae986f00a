package deliver

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/destination"
	"github.com/meterd/meterd/internal/notify"
)

var now = time.Date(2026, 11, 25, 6, 0, 0, 0, time.UTC)

// made is a parcel of two files.
func made(t *testing.T) *Parcel {
	t.Helper()
	dir := t.TempDir()
	p := &Parcel{ID: "report_1", Subject: "Report", Text: "text", Event: "report.ready", Data: map[string]string{"run": "1"}}
	for name, text := range map[string]string{"a.csv": "day,messages\r\n", "b.json": "{}\n"} {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		p.Files = append(p.Files, File{Name: name, Path: path, Type: "text/plain"})
	}
	return p
}

func to(t *testing.T, text string) *destination.Address {
	t.Helper()
	a, err := destination.Parse(text)
	require.NoError(t, err)
	return a
}

// credentials for the S3 servers of tests.
func credentials(t *testing.T) {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDTEST")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "s3-canary-secret")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(t.TempDir(), "none"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(t.TempDir(), "none"))
}

func TestFolder(t *testing.T) {
	t.Parallel()
	d, p := New(Options{}), made(t)
	dir := filepath.Join(t.TempDir(), "new", "folder")
	for range 2 {
		require.NoError(t, d.Send(t.Context(), to(t, "file:"+dir), notify.Secret{}, p, now))
	}
	list, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	require.Len(t, list, 2, "the same names, and nothing left over")
	b, err := os.ReadFile(filepath.Join(dir, "a.csv"))
	require.NoError(t, err)
	require.Equal(t, "day,messages\r\n", string(b))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	err = d.Send(t.Context(), to(t, "file:"+dir+"/file/canary-dir"), notify.Secret{}, p, now)
	require.ErrorContains(t, err, "not a directory")
	require.NotContains(t, err.Error(), "canary-dir")
	require.NotErrorIs(t, err, ErrForGood, "a disk may come back")
}

func TestBucket(t *testing.T) { //nolint:paralleltest // it sets credentials
	credentials(t)
	store := s3mem.New()
	require.NoError(t, store.CreateBucket("acme-reports"))
	srv := httptest.NewServer(gofakes3.New(store).Server())
	defer srv.Close()
	d, p := New(Options{Rest: time.Millisecond}), made(t)
	bucket := "s3://acme-reports/finance/2026?endpoint=" + srv.URL
	for range 2 {
		require.NoError(t, d.Send(t.Context(), to(t, bucket), notify.Secret{}, p, now))
	}
	list, err := store.ListBucket("acme-reports", nil, gofakes3.ListBucketPage{})
	require.NoError(t, err)
	require.Len(t, list.Contents, 2)
	o, err := store.GetObject("acme-reports", "finance/2026/a.csv", nil)
	require.NoError(t, err)
	b, err := io.ReadAll(o.Contents)
	require.NoError(t, err)
	require.Equal(t, "day,messages\r\n", string(b))
	require.Equal(t, "text/plain", o.Metadata["Content-Type"])

	err = d.Send(t.Context(), to(t, "s3://nowhere?endpoint="+srv.URL), notify.Secret{}, p, now)
	require.ErrorContains(t, err, "NoSuchBucket (404)")
	srv.Close()
	err = d.Send(t.Context(), to(t, bucket), notify.Secret{}, p, now)
	require.ErrorContains(t, err, "connection refused")
	require.NotErrorIs(t, err, ErrForGood)
	require.NotContains(t, err.Error(), "finance/2026")
	require.ErrorIs(t, d.Send(t.Context(), to(t, "s3://acme-reports"), notify.Secret{}, p, now), ErrForGood, "no region")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	err = d.Send(t.Context(), to(t, bucket), notify.Secret{}, p, now)
	require.ErrorContains(t, err, "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
	require.NotContains(t, err.Error(), "AKIDTEST")
}

// An object of several parts that breaks off isn't there.
func TestBucketIsWholeOrNotAtAll(t *testing.T) { //nolint:paralleltest // it sets credentials
	credentials(t)
	store := s3mem.New()
	require.NoError(t, store.CreateBucket("acme-reports"))
	var parts atomic.Int64
	fake := gofakes3.New(store).Server()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("partNumber") && parts.Add(1) > 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		fake.ServeHTTP(w, r)
	}))
	defer srv.Close()
	p := made(t)
	big := filepath.Join(t.TempDir(), "big")
	require.NoError(t, os.WriteFile(big, []byte(strings.Repeat("x", 40<<20)), 0o600))
	p.Files = []File{{Name: "big.csv", Path: big, Type: "text/csv"}}
	require.Error(t, New(Options{}).Send(t.Context(), to(t, "s3://acme-reports?endpoint="+srv.URL), notify.Secret{}, p, now))
	_, err := store.HeadObject("acme-reports", "big.csv")
	require.Error(t, err)
	parts.Store(-1 << 20)
	require.NoError(t, New(Options{}).Send(t.Context(), to(t, "s3://acme-reports?endpoint="+srv.URL), notify.Secret{}, p, now))
	o, err := store.HeadObject("acme-reports", "big.csv")
	require.NoError(t, err)
	require.EqualValues(t, 40<<20, o.Size)
}

func TestHook(t *testing.T) {
	t.Setenv("DELIVER_HOOK", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	status := http.StatusOK
	var ids []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ids = append(ids, r.Header.Get("Webhook-Id"))
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
	}))
	defer srv.Close()
	d, p := New(Options{Rest: time.Millisecond}), made(t)
	send := func(env string) error {
		return d.Send(t.Context(), to(t, srv.URL+"/canary-token"), notify.Secret{Env: env}, p, now)
	}
	require.NoError(t, send("DELIVER_HOOK"))
	for code, good := range map[int]bool{http.StatusFound: false, http.StatusTooManyRequests: false, http.StatusBadGateway: false, http.StatusGone: true} {
		status = code
		err := send("DELIVER_HOOK")
		require.Equal(t, good, errors.Is(err, ErrForGood), err)
		require.Equal(t, code == http.StatusGone, errors.Is(err, ErrGone))
		require.NotContains(t, err.Error(), "canary-token")
		require.Eventually(t, func() bool { return !d.Resting(to(t, srv.URL)) }, time.Second, time.Millisecond)
	}
	for _, id := range ids {
		require.Equal(t, "msg_report_1", id)
	}
	require.ErrorIs(t, send("DELIVER_NO_HOOK"), ErrForGood)
	require.ErrorContains(t, send("DELIVER_NO_HOOK"), "environment variable DELIVER_NO_HOOK")
}

func TestMailWithoutAServer(t *testing.T) {
	t.Parallel()
	err := New(Options{}).Send(t.Context(), to(t, "mailto:a@x.example"), notify.Secret{}, made(t), now)
	require.ErrorIs(t, err, ErrForGood)
	require.ErrorContains(t, err, "give --smtp and --mail-from")
}

// A server that hangs takes its places and no more; after three failures in a
// row it is left alone, then asked once, and taken back when it answers.
func TestAServerThatHangs(t *testing.T) {
	t.Parallel()
	hang := make(chan struct{})
	var asked atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		asked.Add(1)
		<-hang
	}))
	defer srv.Close()
	d, p := New(Options{Timeout: 3 * time.Second, Rest: 100 * time.Millisecond}), made(t)
	hung := to(t, srv.URL)
	var wg sync.WaitGroup
	var busy, failed atomic.Int64
	for range 3 * hostMax {
		wg.Go(func() {
			switch err := d.Send(t.Context(), hung, notify.Secret{}, p, now); {
			case errors.Is(err, ErrBusy):
				busy.Add(1)
			case err != nil:
				failed.Add(1)
			}
		})
	}
	require.Eventually(t, func() bool { return asked.Load() == hostMax }, 5*time.Second, time.Millisecond)
	dir := t.TempDir()
	require.NoError(t, d.Send(t.Context(), to(t, "file:"+dir), notify.Secret{}, p, now), "others go on")
	require.Zero(t, failed.Load(), "before any of them is given up")
	wg.Wait()
	require.EqualValues(t, 2*hostMax, busy.Load())
	require.EqualValues(t, hostMax, failed.Load())
	require.EqualValues(t, hostMax, asked.Load())
	require.True(t, d.Resting(hung))
	require.ErrorIs(t, d.Send(t.Context(), hung, notify.Secret{}, p, now), ErrBusy)
	close(hang)
	require.Eventually(t, func() bool { return !d.Resting(hung) }, 5*time.Second, time.Millisecond)
	require.NoError(t, d.Send(t.Context(), hung, notify.Secret{}, p, now))
	require.False(t, d.Resting(hung))
}

func TestATakenPlaceEndsWithItsContext(t *testing.T) {
	t.Parallel()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.Error(t, New(Options{}).Send(ctx, to(t, "http://"+l.Addr().String()), notify.Secret{}, made(t), now))
}
