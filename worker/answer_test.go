package worker

import (
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering"
)

// exampleAnswer is what the golden files hold.
func exampleAnswer() ([]decision, []refusal) {
	decisions := []decision{
		{line: 0, group: 1, purse: metering.PurseWallet, owner: "acme", charge: metering.Charge{
			Amount: 1_234_567, Fee: 1_000, Units: 2_000_000, Billed: 60_000_000, Unit: "second", Plan: "eur", Version: 3, Rule: 7,
		}},
		{line: 300, purse: metering.PurseCredit, charge: metering.Charge{Amount: -5, Unit: "message"}},
	}
	return decisions, []refusal{{line: 2, reason: metering.ReasonMalformed, detail: "id: missing"}}
}

// TestAnswersOfOlderVersions: each version's bytes, as they were written then,
// can be read, and today's are as the newest file says.
func TestAnswersOfOlderVersions(t *testing.T) {
	t.Parallel()
	wantDecisions, wantRefused := exampleAnswer()
	for _, name := range []string{"answer-1.hex", "answer-2.hex"} {
		text, err := os.ReadFile("testdata/" + name)
		require.NoError(t, err)
		b, err := hex.DecodeString(strings.TrimSpace(string(text)))
		require.NoError(t, err)
		decisions, refused, err := decodeDecisions(b)
		require.NoError(t, err, name)
		assert.Equal(t, wantDecisions, decisions, name)
		assert.Equal(t, wantRefused, refused, name)
		if name == "answer-2.hex" {
			assert.Equal(t, hex.EncodeToString(b), hex.EncodeToString(encodeDecisions(wantDecisions, wantRefused)),
				"the bytes have changed: raise answerVersion, read both, and add a file")
		}
	}
	_, _, err := decodeDecisions([]byte{0, answerVersion + 1, 1})
	require.ErrorIs(t, err, errNewer)
	for n := range encodeDecisions(wantDecisions, wantRefused) {
		_, _, err := decodeDecisions(encodeDecisions(wantDecisions, wantRefused)[:n])
		if n > 0 {
			require.Error(t, err, "cut at %d", n)
		}
	}
}
