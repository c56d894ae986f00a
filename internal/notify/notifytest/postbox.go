// Package notifytest has a real SMTP server for tests, which keeps what it gets.
package notifytest

import (
	"bufio"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/notify"
)

// Postbox is an SMTP server that keeps letters by their receiver.
type Postbox struct {
	mu       sync.Mutex
	refuse   bool
	subjects map[string][]string // by receiver
	letters  []string
}

// NewPostbox returns one that listens until the test ends, and what mails to it.
func NewPostbox(tb testing.TB) (*Postbox, *notify.Mail) {
	tb.Helper()
	p := &Postbox{subjects: map[string][]string{}}
	srv := smtp.NewServer(backend{p})
	l, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	require.NoError(tb, err)
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	tb.Cleanup(func() { _ = srv.Close(); <-done })
	m, err := notify.NewMail(notify.MailOptions{Server: "smtp://" + l.Addr().String() + "?tls=none", From: "meterd@example.com"})
	require.NoError(tb, err)
	return p, m
}

// Refuse makes it answer every letter that it is to be tried later, or no longer.
func (p *Postbox) Refuse(refuse bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = refuse
}

// Subjects of the letters to a receiver, in their order.
func (p *Postbox) Subjects(to string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string{}, p.subjects[to]...)
}

// Receivers is how many have got a letter.
func (p *Postbox) Receivers() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.subjects)
}

// Letters are all, as they came.
func (p *Postbox) Letters() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string{}, p.letters...)
}

type backend struct{ box *Postbox }

// NewSession implements smtp.Backend.
func (b backend) NewSession(*smtp.Conn) (smtp.Session, error) { return &session{box: b.box}, nil }

type session struct {
	box *Postbox
	to  string
}

// Mail implements smtp.Session, as do the others.
func (s *session) Mail(string, *smtp.MailOptions) error {
	s.box.mu.Lock()
	defer s.box.mu.Unlock()
	if s.box.refuse {
		return &smtp.SMTPError{Code: 451, Message: "later"}
	}
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error { s.to = to; return nil }
func (s *session) Reset()                                    {}
func (s *session) Logout() error                             { return nil }

func (s *session) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	s.box.mu.Lock()
	defer s.box.mu.Unlock()
	scan := bufio.NewScanner(strings.NewReader(string(b)))
	for scan.Scan() {
		if subject, ok := strings.CutPrefix(scan.Text(), "Subject: "); ok {
			s.box.subjects[s.to] = append(s.box.subjects[s.to], subject)
		}
	}
	s.box.letters = append(s.box.letters, string(b))
	return err
}
