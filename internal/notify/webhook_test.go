package notify

import (
	"bytes"
	"context"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"
)

// The published vector of the Standard Webhooks specification.
func TestSignPublishedVector(t *testing.T) {
	t.Setenv("HOOK_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	got, err := sign(Secret{Env: "HOOK_SECRET"}, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
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
		return NewWebhook().Send(context.Background(), srv.URL, Secret{Env: "HOOK_SECRET"}, m, time.Now())
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
	status = http.StatusOK
	t.Setenv("HOOK_SECRET", secret)
	m.Data = strings.Repeat("x", bodyMax)
	require.ErrorIs(t, send(), ErrSize)
}

func TestSecretsComeByReference(t *testing.T) {
	t.Setenv("HOOK_SECRET", "whsec_fromtheenvironment")
	got, err := Secret{Env: "HOOK_SECRET"}.Read()
	require.NoError(t, err)
	require.Equal(t, "whsec_fromtheenvironment", got)
	file := filepath.Join(t.TempDir(), "hook")
	_, err = Secret{File: file}.Read()
	require.ErrorIs(t, err, ErrSecret)
	require.ErrorContains(t, err, file)
	require.NoError(t, os.WriteFile(file, []byte("whsec_fromafile\n"), 0o600))
	got, err = Secret{File: file}.Read()
	require.NoError(t, err)
	require.Equal(t, "whsec_fromafile", got)
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err = Secret{File: file}.Read()
	require.ErrorIs(t, err, ErrSecret)
	t.Setenv("HOOK_SECRET", "")
	_, err = Secret{Env: "HOOK_SECRET"}.Read()
	require.ErrorContains(t, err, "environment variable HOOK_SECRET")
}

// A key that can be guessed is refused, and nothing of it is shown.
func TestKeysThatAreTooShortOrTooLong(t *testing.T) {
	key := func(n int) string { return "whsec_" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("k"), n)) }
	for _, bad := range []string{"no-whsec", "whsec_", "whsec_QQ==", "whsec_not base64", "whsec_" + strings.Repeat("k", 33), key(0), key(1), key(23), key(65)} {
		t.Setenv("HOOK_SECRET", bad)
		_, err := sign(Secret{Env: "HOOK_SECRET"}, "id", time.Now(), nil)
		require.ErrorIs(t, err, ErrSecret, bad)
		require.ErrorContains(t, err, "environment variable HOOK_SECRET")
		require.ErrorContains(t, err, "24 to 64 random bytes")
		if bad != "whsec_" {
			require.NotContains(t, err.Error(), strings.TrimPrefix(bad, "whsec_"))
		}
		require.ErrorIs(t, Secret{Env: "HOOK_SECRET"}.CheckHook(), ErrSecret)
	}
	for _, n := range []int{24, 32, 64} {
		t.Setenv("HOOK_SECRET", key(n))
		require.NoError(t, Secret{Env: "HOOK_SECRET"}.CheckHook())
	}
}
