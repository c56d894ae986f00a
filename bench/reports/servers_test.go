package reports_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-smtp"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/stretchr/testify/require"
)

// tally counts deliveries by what makes each recognisable.
type tally struct {
	mu   sync.Mutex
	seen map[string]int
}

func newTally() *tally { return &tally{seen: map[string]int{}} }

func (t *tally) add(key string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seen[key]++
	return len(t.seen)
}

// once fails where one came not once, and wants n of them.
func (t *tally) once(tb testing.TB, what string, n int) {
	tb.Helper()
	t.mu.Lock()
	defer t.mu.Unlock()
	require.Len(tb, t.seen, n, what)
	for key, times := range t.seen {
		require.Equal(tb, 1, times, "%s: %s", what, key)
	}
}

// postbox is an SMTP server that refuses one domain.
type postbox struct{ letters *tally }

// NewSession implements smtp.Backend.
func (p *postbox) NewSession(*smtp.Conn) (smtp.Session, error) { return &session{box: p}, nil }

type session struct{ box *postbox }

func (*session) Mail(string, *smtp.MailOptions) error { return nil }

func (*session) Rcpt(to string, _ *smtp.RcptOptions) error {
	if strings.HasSuffix(to, "@refused.example") {
		return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 7, 1}, Message: "try again later"}
	}
	return nil
}

func (s *session) Data(r io.Reader) error {
	for in := bufio.NewScanner(r); in.Scan(); {
		if id, ok := strings.CutPrefix(in.Text(), "Message-ID: "); ok {
			s.box.letters.add(id)
		}
	}
	_, err := io.Copy(io.Discard, r)
	return err
}
func (*session) Reset()        {}
func (*session) Logout() error { return nil }

func mailServer(tb testing.TB) (addr string, letters *tally) {
	tb.Helper()
	box := &postbox{letters: newTally()}
	srv := smtp.NewServer(box)
	l, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	require.NoError(tb, err)
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	tb.Cleanup(func() { _ = srv.Close(); <-done })
	return l.Addr().String(), box.letters
}

// bucketServer is an S3 server; where diesAfter isn't 0 it takes that many
// objects and is gone.
func bucketServer(tb testing.TB, diesAfter int) (url string, objects *tally) {
	tb.Helper()
	store := s3mem.New()
	require.NoError(tb, store.CreateBucket("reports"))
	fake := gofakes3.New(store).Server()
	objects = newTally()
	var srv *httptest.Server
	srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fake.ServeHTTP(w, r)
		if r.Method == http.MethodPut && objects.add(r.URL.Path) == diesAfter {
			_ = srv.Listener.Close() // further connections are refused
			w.Header().Set("Connection", "close")
			go srv.CloseClientConnections()
		}
	}))
	tb.Cleanup(srv.Close)
	return srv.URL, objects
}

// hookServer takes webhooks.
func hookServer(tb testing.TB) (url string, messages *tally) {
	tb.Helper()
	messages = newTally()
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { messages.add(r.Header.Get("Webhook-Id")) }))
	tb.Cleanup(srv.Close)
	return srv.URL, messages
}
