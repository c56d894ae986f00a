package reporting

import (
	"os"
	"testing"

	"github.com/meterd/meterd/internal/testengine"
)

// hookSecret is what the webhooks of tests are signed with.
const hookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// TestMain sets the secrets that tests need, for all of them at once: who sets
// them for itself can't run beside others.
func TestMain(m *testing.M) {
	for name, value := range map[string]string{
		"REPORT_HOOK": hookSecret, "REPORT_HOOK_EMPTY": "",
		"AWS_ACCESS_KEY_ID": "AKIDCANARY", "AWS_SECRET_ACCESS_KEY": "s3-canary-secret", "AWS_EC2_METADATA_DISABLED": "true",
	} {
		if err := os.Setenv(name, value); err != nil {
			panic(err)
		}
	}
	testengine.Main(m)
}
