package reports

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// economic are the words that a field's or a type's name may not have in a
// report without money, nor in a JSON key of it.
var economic = []string{
	"micros", "money", "decimal", "currency", "amount", "price", "limit", "balance", "plan", "fee", "rate", "refund", "net", "billed", "billable",
	"unit", "budget", "wallet", "share", "cost", "credit", "purse", "adjust", "correction", "charge", "epoch", "reason", "parent", "quantity",
}

func TestReportsWithoutMoneyHaveNoFieldForIt(t *testing.T) {
	t.Parallel()
	seen := map[reflect.Type]bool{}
	var walk func(rt reflect.Type, path string)
	walk = func(rt reflect.Type, path string) {
		if seen[rt] {
			return
		}
		seen[rt] = true
		for _, w := range economic {
			require.NotContains(t, strings.ToLower(rt.Name()), w, "%s is a %s", path, rt)
		}
		switch rt.Kind() { //nolint:exhaustive // the rest is refused
		case reflect.Slice, reflect.Array, reflect.Pointer:
			walk(rt.Elem(), path)
		case reflect.Struct:
			if rt == reflect.TypeFor[time.Time]() {
				return
			}
			require.True(t, strings.HasSuffix(rt.PkgPath(), "/reports"), "%s is of another package: %s", path, rt)
			for f := range rt.Fields() {
				name := strings.ToLower(f.Name + " " + f.Tag.Get("json") + " " + f.Tag.Get("parquet"))
				for _, w := range economic {
					require.NotContains(t, name, w, "%s.%s", path, f.Name)
				}
				walk(f.Type, path+"."+f.Name)
			}
		case reflect.String, reflect.Bool, reflect.Uint64, reflect.Int64:
		default:
			require.Fail(t, "a kind that can hide anything", "%s is a %s", path, rt)
		}
	}
	walk(reflect.TypeFor[ActivityStatement](), "ActivityStatement")
	walk(reflect.TypeFor[ActivityOverview](), "ActivityOverview")
	walk(reflect.TypeFor[AccountNotice](), "AccountNotice")
	walk(reflect.TypeFor[ActivityMessage](), "ActivityMessage")
	walk(reflect.TypeFor[ActivityAbout](), "ActivityAbout")
	require.True(t, seen[reflect.TypeFor[ActivityLine]()])
}
