package notify

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
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
			return errors.New("wrong password")
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
func (s *session) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (s *session) Reset()                               {}
func (s *session) Logout() error                        { return nil }

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
	m, err := NewMail(MailOptions{Server: "smtp://user@" + addr, PasswordEnv: "METERD_TEST_SMTP", From: "meterd@example.com", TLS: &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"}})
	require.NoError(t, err)
	l := &Letter{ID: "id-1", To: "finance@example.com", Subject: "80 % of the budget", Text: "it's nearly spent", At: time.Now()}
	require.NoError(t, m.Send(t.Context(), l))
	require.Len(t, box.letters, 1)
	for _, want := range []string{"Message-ID: <id-1@meterd>", "80", "spent", "To: <finance@example.com>", "From: <meterd@example.com>"} {
		require.Contains(t, box.letters[0], want)
	}
	t.Setenv("METERD_TEST_SMTP", "wrong-secret")
	err = m.Send(t.Context(), l)
	require.ErrorIs(t, err, ErrMail)
	require.NotContains(t, err.Error(), "wrong-secret")
	require.Len(t, box.letters, 1)
}

func TestMailNeverGoesOutInTheClearUnasked(t *testing.T) {
	t.Parallel()
	box := &postbox{}
	addr := box.serve(t, nil)
	m, err := NewMail(MailOptions{Server: "smtp://" + addr, From: "meterd@example.com"})
	require.NoError(t, err)
	require.Error(t, m.Send(t.Context(), &Letter{ID: "1", To: "a@example.com", At: time.Now()}))
	require.Empty(t, box.letters)
	m, err = NewMail(MailOptions{Server: "smtp://" + addr + "?tls=none", From: "meterd@example.com"})
	require.NoError(t, err)
	require.NoError(t, m.Send(t.Context(), &Letter{ID: "1", To: "a@example.com", At: time.Now()}))
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
	err = gone.Send(ctx, &Letter{ID: "1", To: "a@example.com", At: time.Now()})
	require.ErrorIs(t, err, ErrMail)
	require.False(t, strings.Contains(err.Error(), "a@example.com"))
	require.ErrorIs(t, gone.Send(ctx, &Letter{To: "no address"}), ErrMail)
}
