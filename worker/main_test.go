package worker

import (
	"os"
	"testing"

	"github.com/meterd/meterd/internal/testengine"
)

// hookSecret is what the webhooks of tests are signed with.
const hookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// TestMain sets the secret that tests need, for all of them at once: who sets it
// for itself can't run beside others.
func TestMain(m *testing.M) {
	if err := os.Setenv("METERD_TEST_HOOK", hookSecret); err != nil {
		panic(err)
	}
	testengine.Main(m)
}
