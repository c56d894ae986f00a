package notify

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"io"
	"math/big"
	"mime"
	"mime/multipart"
	"net"
	netmail "net/mail"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"
)

// postbox is a real SMTP server that keeps what it gets.
type postbox struct {
	mu       sync.Mutex
	letters  []string
	password string
	refuse   map[string]*smtp.SMTPError // by receiver
}

// NewSession implements smtp.Backend.
func (p *postbox) NewSession(*smtp.Conn) (smtp.Session, error) { return &session{box: p}, nil }

type session struct {
	box  *postbox
	user string
}

func (s *session) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if password != s.box.password {
			return smtp.ErrAuthFailed
		}
		s.user = user
		return nil
	}), nil
}

func (s *session) Mail(string, *smtp.MailOptions) error {
	if s.box.password != "" && s.user == "" {
		return smtp.ErrAuthRequired
	}
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	if refused := s.box.refuse[to]; refused != nil {
		return refused
	}
	return nil
}
func (s *session) Reset()        {}
func (s *session) Logout() error { return nil }

func (s *session) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	s.box.mu.Lock()
	defer s.box.mu.Unlock()
	s.box.letters = append(s.box.letters, string(b))
	return err
}

func (p *postbox) serve(t *testing.T, cert *tls.Certificate) string {
	t.Helper()
	srv := smtp.NewServer(p)
	srv.AllowInsecureAuth = cert == nil
	if cert != nil {
		srv.TLSConfig = &tls.Config{Certificates: []tls.Certificate{*cert}}
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close(); <-done })
	return l.Addr().String()
}

// certificate of 127.0.0.1, and who trusts it.
func certificate(t *testing.T) (*tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	tpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, &key.PublicKey, key)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func TestMailWithTLSAndAPassword(t *testing.T) { //nolint:paralleltest // it sets the password
	cert, pool := certificate(t)
	box := &postbox{password: "right"}
	addr := box.serve(t, cert)
	t.Setenv("METERD_TEST_SMTP", "right")
	m, err := NewMail(MailOptions{Server: "smtp://user@" + addr, Password: Secret{Env: "METERD_TEST_SMTP"}, From: "meterd@example.com", TLS: &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"}})
	require.NoError(t, err)
	l := &Letter{ID: "id-1", To: []string{"finance@example.com"}, Subject: "80 % of the budget", Text: "it's nearly spent", At: time.Now()}
	require.NoError(t, m.Send(t.Context(), l))
	require.Len(t, box.letters, 1)
	for _, want := range []string{"Message-ID: <id-1@example.com>", "User-Agent: meterd", "80", "spent", "To: <finance@example.com>", "From: <meterd@example.com>"} {
		require.Contains(t, box.letters[0], want)
	}
	l.Sender = "Acme Telecom"
	require.NoError(t, m.Send(t.Context(), l))
	require.Contains(t, box.letters[1], "User-Agent: Acme Telecom")
	require.NotContains(t, strings.ReplaceAll(box.letters[1], "meterd@example.com", ""), "meterd")
	t.Setenv("METERD_TEST_SMTP", "wrong-secret")
	err = m.Send(t.Context(), l)
	require.ErrorIs(t, err, ErrMail)
	require.NotContains(t, err.Error(), "wrong-secret")
	var answer *MailError
	require.ErrorAs(t, err, &answer)
	require.True(t, answer.ForGood(), err)
	require.ErrorContains(t, err, "user or password")
	t.Setenv("METERD_TEST_SMTP", "")
	require.ErrorIs(t, m.Send(t.Context(), l), ErrSecret)
	require.Len(t, box.letters, 2)
}

func TestMailThatTheServerRefuses(t *testing.T) {
	t.Parallel()
	box := &postbox{refuse: map[string]*smtp.SMTPError{
		"gone@example.com": {Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no gone@example.com here"},
		"full@example.com": {Code: 452, EnhancedCode: smtp.EnhancedCode{4, 2, 2}, Message: "full@example.com is full"},
	}}
	m, err := NewMail(MailOptions{Server: "smtp://" + box.serve(t, nil) + "?tls=none", From: "meterd@example.com"})
	require.NoError(t, err)
	for to, want := range map[string]string{"gone@example.com": "answered 550 5.1.1", "full@example.com": "answered 452 4.2.2"} {
		err := m.Send(t.Context(), &Letter{ID: "1", To: []string{to}, At: time.Now()})
		var answer *MailError
		require.ErrorAs(t, err, &answer)
		require.Equal(t, to == "gone@example.com", answer.ForGood())
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), to)
	}
	require.Empty(t, box.letters)
}

func TestMailWithFilesAndHTML(t *testing.T) {
	t.Parallel()
	box := &postbox{}
	m, err := NewMail(MailOptions{Server: "smtp://" + box.serve(t, nil) + "?tls=none", From: "meterd@example.com"})
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "made")
	require.NoError(t, os.WriteFile(file, []byte("day,messages\r\n"), 0o600))
	require.NoError(t, m.Send(t.Context(), &Letter{
		ID: "1", To: []string{"a@example.com"}, Subject: "Bericht für März", Text: "plain", HTML: "<p>rich</p>", At: time.Now(),
		Files: []Attachment{{Name: "report.csv", Path: file, Type: "text/csv"}},
	}))
	got, err := netmail.ReadMessage(strings.NewReader(box.letters[0]))
	require.NoError(t, err)
	subject, err := new(mime.WordDecoder).DecodeHeader(got.Header.Get("Subject"))
	require.NoError(t, err)
	require.Equal(t, "Bericht für März", subject)
	_, params, err := mime.ParseMediaType(got.Header.Get("Content-Type"))
	require.NoError(t, err)
	parts := map[string]string{}
	var walk func(r io.Reader, boundary string)
	walk = func(r io.Reader, boundary string) {
		for mr := multipart.NewReader(r, boundary); ; {
			p, err := mr.NextPart()
			if errors.Is(err, io.EOF) {
				return
			}
			require.NoError(t, err)
			kind, params, err := mime.ParseMediaType(p.Header.Get("Content-Type"))
			require.NoError(t, err)
			if params["boundary"] != "" {
				walk(p, params["boundary"])
				continue
			}
			body := io.Reader(p)
			if p.Header.Get("Content-Transfer-Encoding") == "base64" {
				body = base64.NewDecoder(base64.StdEncoding, p)
			}
			b, err := io.ReadAll(body)
			require.NoError(t, err)
			parts[kind+" "+p.FileName()] = string(b)
		}
	}
	walk(got.Body, params["boundary"])
	require.Equal(t, map[string]string{"text/plain ": "plain", "text/html ": "<p>rich</p>", "text/csv report.csv": "day,messages\r\n"}, parts)
}

func TestMailNeverGoesOutInTheClearUnasked(t *testing.T) {
	t.Parallel()
	box := &postbox{}
	addr := box.serve(t, nil)
	m, err := NewMail(MailOptions{Server: "smtp://" + addr, From: "meterd@example.com"})
	require.NoError(t, err)
	require.Error(t, m.Send(t.Context(), &Letter{ID: "1", To: []string{"a@example.com"}, At: time.Now()}))
	require.Empty(t, box.letters)
	m, err = NewMail(MailOptions{Server: "smtp://" + addr + "?tls=none", From: "meterd@example.com"})
	require.NoError(t, err)
	require.NoError(t, m.Send(t.Context(), &Letter{ID: "1", To: []string{"a@example.com"}, At: time.Now()}))
	require.Len(t, box.letters, 1)
}

func TestMailThatCantBeSent(t *testing.T) {
	t.Parallel()
	for _, o := range []MailOptions{
		{Server: "host:25", From: "a@b.example"},
		{Server: "http://h", From: "a@b.example"},
		{Server: "smtp://h", From: ""},
		{Server: "smtp://h", From: "nobody"},
		{Server: "smtp://user:secret@h", From: "a@b.example"},
	} {
		_, err := NewMail(o)
		require.ErrorIs(t, err, ErrMail, o.Server)
		require.NotContains(t, err.Error(), "secret@")
	}
	none, err := NewMail(MailOptions{})
	require.NoError(t, err)
	require.ErrorContains(t, none.Send(t.Context(), &Letter{}), "no server is set")
	gone, err := NewMail(MailOptions{Server: "smtp://127.0.0.1:1?tls=none", From: "a@b.example"})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	err = gone.Send(ctx, &Letter{ID: "1", To: []string{"a@example.com"}, At: time.Now()})
	require.ErrorIs(t, err, ErrMail)
	require.False(t, strings.Contains(err.Error(), "a@example.com"))
	require.ErrorIs(t, gone.Send(ctx, &Letter{To: []string{"no address"}}), ErrMail)
}
