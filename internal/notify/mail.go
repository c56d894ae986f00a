package notify

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wneessen/go-mail"
)

// MailOptions say which server takes mail. The password comes by reference.
type MailOptions struct {
	// Server is smtp://user@host:587 (STARTTLS), smtps://user@host:465, or
	// smtp://host:25?tls=none. "": mail can't be sent.
	Server string
	// Password of the user.
	Password Secret
	// From is the sender's address.
	From string
	// TLS replaces the checks of the server's certificate, in tests. Default nil.
	TLS *tls.Config
}

// Mail sends mail. A nil Mail has no server.
type Mail struct {
	opts MailOptions
	host string
	user bool
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
		m.user = true
		m.dial = append(m.dial, mail.WithSMTPAuth(mail.SMTPAuthAutoDiscover), mail.WithUsername(u.User.Username()))
	}
	return m, nil
}

// Letter is one mail.
type Letter struct {
	ID            string // the same on every retry: receivers may drop a copy
	To            []string
	Subject, Text string
	HTML          string // "": plain text only
	Sender        string // what is said to have written it; "": meterd
	Files         []Attachment
	At            time.Time
}

// Attachment is a file that goes with a letter.
type Attachment struct {
	Name string // as the receiver sees it
	Path string
	Type string // media type
}

// MailError is what a server answered.
type MailError struct {
	Host string
	Code int    // 550; 0: no answer
	More string // 5.1.1, or ""
	Step string // what it answered to
	err  error
}

// Error implements error. It leaves out the server's words and the receiver.
func (e *MailError) Error() string {
	if e.Code == 0 {
		return fmt.Sprintf("mail: %s: %s: %v", e.Host, e.Step, e.err)
	}
	return strings.TrimSuffix(fmt.Sprintf("mail: %s answered %d %s", e.Host, e.Code, e.More), " ") + " (" + e.Step + ")"
}

// Unwrap gives ErrMail.
func (e *MailError) Unwrap() error { return ErrMail }

// ForGood tells that trying again won't help.
func (e *MailError) ForGood() bool { return e.Code >= 500 }

// Send delivers it to the server.
func (m *Mail) Send(ctx context.Context, l *Letter) error {
	if m == nil {
		return fmt.Errorf("%w: no server is set: give --smtp and --mail-from", ErrMail)
	}
	msg, err := m.message(l)
	if err != nil {
		return err
	}
	dial := m.dial
	if m.user {
		password, err := m.opts.Password.Read()
		if err != nil {
			return fmt.Errorf("%w: password: %w", ErrMail, err)
		}
		dial = append(slices.Clip(dial), mail.WithPassword(password))
	}
	c, err := mail.NewClient(m.host, dial...)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrMail, m.host, err)
	}
	// A connection that is lost after the server has taken the mail doesn't matter.
	if err := c.DialAndSendWithContext(ctx, msg); err != nil && !msg.IsDelivered() {
		return m.failure(err)
	}
	return nil
}

func (m *Mail) message(l *Letter) (*mail.Msg, error) {
	msg := mail.NewMsg()
	if err := msg.From(m.opts.From); err != nil {
		return nil, fmt.Errorf("%w: sender: not an address", ErrMail)
	}
	if err := msg.To(l.To...); err != nil || len(l.To) == 0 {
		return nil, fmt.Errorf("%w: receiver: not an address", ErrMail)
	}
	_, domain, _ := strings.Cut(msg.GetFrom()[0].Address, "@")
	msg.SetMessageIDWithValue(l.ID + "@" + domain)
	msg.SetDateWithValue(l.At)
	msg.Subject(l.Subject)
	msg.SetUserAgent(cmp.Or(l.Sender, "meterd"))
	msg.SetBodyString(mail.TypeTextPlain, l.Text)
	if l.HTML != "" {
		msg.AddAlternativeString(mail.TypeTextHTML, l.HTML)
	}
	for _, f := range l.Files {
		msg.AttachFile(f.Path, mail.WithFileName(f.Name), mail.WithFileContentType(mail.ContentType(f.Type)))
	}
	return msg, nil
}

// failure is what is told of an error: no more than code and step.
func (m *Mail) failure(err error) error {
	out := &MailError{Host: m.host, Step: "connecting", err: err}
	var answer *textproto.Error
	var sending *mail.SendError
	switch {
	case errors.As(err, &sending):
		out.Code, out.More, out.Step = sending.ErrorCode(), sending.EnhancedStatusCode(), sending.Reason.String()
		out.err = errSending
	case errors.As(err, &answer):
		out.Code = answer.Code
		if answer.Code == authRefused {
			out.Step = "user or password"
		}
	}
	return out
}

var errSending = errors.New("the connection was lost")

// authRefused is the answer to a wrong password.
const authRefused = 535
