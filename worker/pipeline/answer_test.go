package pipeline

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
func exampleAnswer() *rated {
	decisions := []decision{
		{line: 0, group: 1, purse: metering.PurseWallet, purseAccount: "acme", charge: metering.Charge{
			Amount: 1_234_567, Fee: 1_000, Units: 2_000_000, Billed: 60_000_000, Unit: "second", Plan: "eur", Version: 3, Rule: 7,
		}},
		{line: 300, purse: metering.PurseCredit, charge: metering.Charge{Amount: -5, Unit: "message"}},
	}
	return &rated{decisions: decisions, refused: []refusal{{line: 2, reason: metering.ReasonMalformed, detail: "id: missing"}}, aside: []int{1, 299}}
}

// TestAnswersOfOlderVersions: each version's bytes, as they were written then,
// can be read, and today's are as the newest file says.
func TestAnswersOfOlderVersions(t *testing.T) {
	t.Parallel()
	for version, name := range map[int]string{1: "answer-1.hex", 2: "answer-2.hex", 3: "answer-3.hex"} {
		want := exampleAnswer()
		if version < 3 {
			want.aside = nil
		}
		text, err := os.ReadFile("testdata/" + name)
		require.NoError(t, err)
		b, err := hex.DecodeString(strings.TrimSpace(string(text)))
		require.NoError(t, err)
		got, err := decodeRated(b)
		require.NoError(t, err, name)
		assert.Equal(t, want, got, name)
		if version > 1 {
			assert.Equal(t, hex.EncodeToString(b), hex.EncodeToString(want.encode()),
				"the bytes have changed: raise answerVersion, read both, and add a file")
		}
	}
	_, err := decodeRated([]byte{0, answerVersion + 1, 1})
	require.ErrorIs(t, err, errNewer)
	whole := exampleAnswer().encode()
	for n := 1; n < len(whole); n++ {
		_, err := decodeRated(whole[:n])
		require.Error(t, err, "cut at %d", n)
	}
}
