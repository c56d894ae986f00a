// Package notify tells the outside: signed webhooks (Standard Webhooks). It
// knows nothing of accounts; secrets come by reference and are never shown.
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
	"os"
	"strconv"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// ErrSecret says that the environment variable that holds a hook's secret is missing or
// isn't a whsec_ secret.
var ErrSecret = errors.New("webhook secret")

// ErrGone says that the receiver answered 410: it wants no more.
var ErrGone = errors.New("the webhook's receiver is gone (410)")

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

// Send delivers one message, signed with the secret in an environment variable.
// nil: a 2xx answer.
func (w *Webhook) Send(ctx context.Context, address, secretEnv string, m *Message, now time.Time) error {
	host := Host(address)
	body, err := json.Marshal(map[string]any{"type": m.Type, "timestamp": m.At.UTC().Format(time.RFC3339Nano), "data": m.Data})
	if err != nil {
		return fmt.Errorf("webhook %s: %w", host, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("webhook %s: the address is wrong", host)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "meterd")
	req.Header.Set("webhook-id", m.ID)
	req.Header.Set("webhook-timestamp", strconv.FormatInt(now.Unix(), 10))
	if secretEnv != "" {
		signature, err := sign(secretEnv, m.ID, now, body)
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
		return fmt.Errorf("webhook %s: answered %d", host, resp.StatusCode)
	}
}

func sign(secretEnv, id string, now time.Time, body []byte) (string, error) {
	secret := os.Getenv(secretEnv)
	if secret == "" {
		return "", fmt.Errorf("%w: environment variable %s is empty: set it to a whsec_… secret", ErrSecret, secretEnv)
	}
	wh, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		return "", fmt.Errorf("%w: environment variable %s holds no whsec_… secret", ErrSecret, secretEnv)
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
