package notify

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"
)

// The published vector of the Standard Webhooks specification.
func TestSignPublishedVector(t *testing.T) {
	t.Setenv("HOOK_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	got, err := sign("HOOK_SECRET", "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	require.NoError(t, err)
	require.Equal(t, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", got)
}

func TestSend(t *testing.T) {
	const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	t.Setenv("HOOK_SECRET", secret)
	var status int
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		wh, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			t.Error(err)
		}
		if err := wh.Verify(body, r.Header); err != nil {
			t.Errorf("the receiver can't verify: %v", err)
		}
		if status == http.StatusFound {
			w.Header().Set("Location", "/elsewhere")
		}
		w.WriteHeader(status)
	}))
	defer srv.Close()
	m := &Message{ID: "msg_1", Type: "account.suspend", At: time.Now(), Data: map[string]string{"account_id": "acme"}}
	send := func() error {
		return NewWebhook().Send(context.Background(), srv.URL, "HOOK_SECRET", m, time.Now())
	}
	status = http.StatusNoContent
	require.NoError(t, send())
	status = http.StatusFound
	require.ErrorContains(t, send(), "answered 302", "a redirect is a failure")
	status = http.StatusGone
	require.ErrorIs(t, send(), ErrGone)
	t.Setenv("HOOK_SECRET", "")
	require.ErrorIs(t, send(), ErrSecret)
	require.NotContains(t, send().Error(), secret)
}
