package ledger

import (
	"errors"
	"net/url"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/stretchr/testify/require"
)

// TestErrorsQuoteNoData: neither what was asked for nor what was to be stored.
func TestErrorsQuoteNoData(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		want string
	}{
		{
			&url.Error{Op: "Post", URL: "http://ch:8123?param_ids=%5B%27m-4711%27%5D", Err: errors.New("EOF")},
			`clickhouse is away: Post "http://ch:8123": EOF`,
		},
		{
			errors.New("Code: 469. DB::Exception: Constraint `paid` for table meterd.records is violated at row 1. Expression: (amount >= 0). Column values: amount = -4711. (VIOLATED_CONSTRAINT) (version 26.1)"),
			"code: 469: clickhouse refuses a value, which isn't shown here (VIOLATED_CONSTRAINT)",
		},
		{
			&clickhouse.Exception{Code: 457, Message: "Value m-4711 cannot be parsed as UInt64 for query parameter 'n'"},
			"code: 457: clickhouse refuses a value, which isn't shown here",
		},
		{
			errors.New("Code: 241. DB::Exception: memory limit exceeded: While executing Filter (id = 'm-4711')"),
			"Code: 241. DB::Exception: memory limit exceeded",
		},
	} {
		got := away(c.err)
		require.Equal(t, c.want, got.Error())
		require.ErrorIs(t, got, c.err)
		require.Equal(t, forGood(c.err), forGood(got), "what is done about it is the same")
	}
}
