package pipeline

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/meterd/meterd/metering"
)

// TestSalvage: what is told of a line that is no record.
func TestSalvage(t *testing.T) {
	t.Parallel()
	f := func(line, account string, kind metering.Kind, id string) {
		t.Helper()
		a, k, i := Salvage([]byte(line))
		assert.Equal(t, []any{account, kind, id}, []any{a, k, i}, line)
	}
	f(`{"account_id":"a","id":"1"}`, "a", "", "1")
	f(`{"account_id":"a","id":"1","kind":"refund","amount":"0"}`, "a", metering.KindRefund, "1")
	f(`{"account_id":"a","id":"1","kind":"adjustment"}`, "a", "", "1")
	f(`{"account_id":"a","id":1,"kind":["refund"]}`, "a", "", "")
	f(`{"account_id":"a","kind":"refund"`, "", "", "")
}
