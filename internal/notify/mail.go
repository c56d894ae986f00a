package notify

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/wneessen/go-mail"
)

// MailOptions say which server takes mail. The password comes by reference.
type MailOptions struct {
	// Server is smtp://user@host:587 (STARTTLS), smtps://user@host:465, or
	// smtp://host:25?tls=none. "": mail can't be sent.
	Server string
	// PasswordEnv is the environment variable that holds the user's password.
	PasswordEnv string
	// From is the sender's address.
	From string
	// TLS replaces the checks of the server's certificate, in tests. Default nil.
	TLS *tls.Config
}

// Mail sends mail. A nil Mail has no server.
type Mail struct {
	opts MailOptions
	host string
	dial []mail.Option
}

// ErrMail says that mail can't be sent as it is set up.
var ErrMail = errors.New("mail")

// mailTimeout of one delivery.
const mailTimeout = 20 * time.Second

// NewMail checks the options; an empty server gives a nil Mail.
func NewMail(o MailOptions) (*Mail, error) {
	if o.Server == "" {
		return nil, nil //nolint:nilnil // no mail is an answer
	}
	u, err := url.Parse(o.Server)
	if err != nil || u.Hostname() == "" || u.Scheme != "smtp" && u.Scheme != "smtps" {
		return nil, fmt.Errorf("%w: server: want smtp://user@host:587, smtps://user@host:465 or smtp://host:25?tls=none", ErrMail)
	}
	if err := mail.NewMsg().From(o.From); err != nil || o.From == "" {
		return nil, fmt.Errorf("%w: sender: give an address such as meterd@example.com", ErrMail)
	}
	m := &Mail{opts: o, host: u.Hostname(), dial: []mail.Option{mail.WithTimeout(mailTimeout)}}
	switch {
	case u.Scheme == "smtps":
		m.dial = append(m.dial, mail.WithSSL())
	case u.Query().Get("tls") == "none":
		m.dial = append(m.dial, mail.WithTLSPolicy(mail.NoTLS))
	default:
		m.dial = append(m.dial, mail.WithTLSPolicy(mail.TLSMandatory))
	}
	if p := u.Port(); p != "" {
		port, err := strconv.Atoi(p)
		if err != nil {
			return nil, fmt.Errorf("%w: server: the port isn't a number", ErrMail)
		}
		m.dial = append(m.dial, mail.WithPort(port))
	}
	if o.TLS != nil {
		m.dial = append(m.dial, mail.WithTLSConfig(o.TLS))
	}
	if u.User != nil {
		if _, has := u.User.Password(); has {
			return nil, fmt.Errorf("%w: server: name the environment variable that holds the password, don't write it here", ErrMail)
		}
		m.dial = append(m.dial, mail.WithSMTPAuth(mail.SMTPAuthAutoDiscover), mail.WithUsername(u.User.Username()))
	}
	return m, nil
}

// Letter is one mail in plain text.
type Letter struct {
	ID            string // the same on every retry: receivers may drop a copy
	To            string
	Subject, Text string
	At            time.Time
}

// Send delivers it to the server.
func (m *Mail) Send(ctx context.Context, l *Letter) error {
	if m == nil {
		return fmt.Errorf("%w: no server is set: give --smtp and --mail-from", ErrMail)
	}
	msg := mail.NewMsg()
	if err := msg.From(m.opts.From); err != nil {
		return fmt.Errorf("%w: sender: not an address", ErrMail)
	}
	if err := msg.To(l.To); err != nil {
		return fmt.Errorf("%w: receiver: not an address", ErrMail)
	}
	msg.SetMessageIDWithValue(l.ID + "@meterd")
	msg.SetDateWithValue(l.At)
	msg.Subject(l.Subject)
	msg.SetBodyString(mail.TypeTextPlain, l.Text)
	dial := m.dial
	if m.opts.PasswordEnv != "" {
		if password := os.Getenv(m.opts.PasswordEnv); password != "" {
			dial = append(slices.Clip(dial), mail.WithPassword(password))
		}
	}
	c, err := mail.NewClient(m.host, dial...)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrMail, m.host, err)
	}
	if err := c.DialAndSendWithContext(ctx, msg); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrMail, m.host, err)
	}
	return nil
}
