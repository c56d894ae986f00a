// Package notify tells the outside: signed webhooks (Standard Webhooks) and mail.
// It knows nothing of accounts; secrets come by reference and are never shown.
package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// ErrGone says that the receiver answered 410: it wants no more.
var ErrGone = errors.New("the webhook's receiver is gone (410)")

// ErrSize says that a message would be larger than receivers must take.
var ErrSize = errors.New("the message would be larger than 20 kB")

// StatusError is an answer that isn't a success.
type StatusError struct {
	Host string
	Code int
}

// Error implements error.
func (e *StatusError) Error() string { return fmt.Sprintf("webhook %s: answered %d", e.Host, e.Code) }

// bodyMax of a message (Standard Webhooks).
const bodyMax = 20_000

// Message is what a receiver gets: {type, timestamp, data}, below 20 kB.
type Message struct {
	ID   string // the same on every retry
	Type string // account.suspend, …
	At   time.Time
	Data any
}

// Webhook sends signed messages.
type Webhook struct{ client *http.Client }

// timeout of one delivery (Standard Webhooks: 15–30 s).
const timeout = 15 * time.Second

// NewWebhook returns a sender. It follows no redirect.
func NewWebhook() *Webhook {
	return &Webhook{client: &http.Client{
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Send delivers one message, signed with the secret that is referred to.
// nil: a 2xx answer.
func (w *Webhook) Send(ctx context.Context, address string, secret Secret, m *Message, now time.Time) error {
	host := Host(address)
	body, err := json.Marshal(map[string]any{"type": m.Type, "timestamp": m.At.UTC().Format(time.RFC3339Nano), "data": m.Data})
	if err != nil {
		return fmt.Errorf("webhook %s: %w", host, err)
	}
	if len(body) > bodyMax {
		return fmt.Errorf("webhook %s: %w", host, ErrSize)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("webhook %s: the address is wrong", host)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "meterd")
	req.Header.Set("webhook-id", m.ID)
	req.Header.Set("webhook-timestamp", strconv.FormatInt(now.Unix(), 10))
	if secret != (Secret{}) {
		signature, err := sign(secret, m.ID, now, body)
		if err != nil {
			return fmt.Errorf("webhook %s: %w", host, err)
		}
		req.Header.Set("webhook-signature", signature)
	}
	resp, err := w.client.Do(req)
	if err != nil {
		if ue, ok := errors.AsType[*url.Error](err); ok { // it holds the whole address
			err = ue.Err
		}
		return fmt.Errorf("webhook %s: %w", host, err)
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	switch {
	case resp.StatusCode >= 200 && resp.StatusCode < 300:
		return nil
	case resp.StatusCode == http.StatusGone:
		return fmt.Errorf("webhook %s: %w", host, ErrGone)
	default:
		return &StatusError{Host: host, Code: resp.StatusCode}
	}
}

func sign(secret Secret, id string, now time.Time, body []byte) (string, error) {
	key, err := secret.signingKey()
	if err != nil {
		return "", err
	}
	wh, err := standardwebhooks.NewWebhookRaw(key)
	if err != nil {
		return "", fmt.Errorf("%w: %s: %w", ErrSecret, secret, err)
	}
	signature, err := wh.Sign(id, now, body)
	if err != nil {
		return "", fmt.Errorf("%w: sign: %w", ErrSecret, err)
	}
	return signature, nil
}

// Host is what of an address may be shown.
func Host(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return "(unreadable address)"
	}
	return u.Host
}
