package workertest

import (
	"fmt"
	"strings"
)

// Shop is a sub-account of Accounts, without limits.
const Shop = "globex-shop"

// Parents is an accounts file of parents with hooks and sub-accounts.
func Parents(list ...string) string {
	return `
plans:
  - {id: hook-plan, currency: EUR, versions: [{effective_from: 2020-01-01T00:00:00Z, rules: [{channel: sms, unit: segment, price: "0.01"}]}]}
parents:
` + strings.Join(list, "")
}

// Parent of an accounts file, postpaid, with so many sub-accounts: its id and a number.
func Parent(id, hooks string, subs int) string {
	var b strings.Builder
	fmt.Fprintf(&b, `  - id: %s
    module: enterprise
    timezone: UTC
    plan: hook-plan
    funding: {mode: postpaid}
    hooks: [%s]
    sub_accounts:
`, id, hooks)
	for i := range subs {
		fmt.Fprintf(&b, "      - {id: %s-%d, channels: [sms]}\n", id, i)
	}
	return b.String()
}

// WithNewAccount are the those of a rig, and one more.
const WithNewAccount = Accounts + "      - {id: globex-new, channels: [sms]}\n"
