package ledger

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering"
)

func TestCatalogKeepsAccountsAndPlans(t *testing.T) {
	t.Parallel()
	l := open(t)
	n, err := l.CatalogNumber(t.Context())
	require.NoError(t, err)
	require.Zero(t, n)
	empty, err := l.Snapshot(t.Context())
	require.NoError(t, err)
	require.Empty(t, empty.Accounts)

	limit := metering.Micros(500_000_001)
	parent := &metering.Account{
		ID: "acme", Name: "Äcme's \\ \"Retail\"\n", Module: metering.Enterprise, Currency: "EUR", Mode: metering.Prepaid,
		Source: metering.SourceWallet, Alerts: []int{50, 80}, Zones: []metering.ZoneFrom{{Zone: "Europe/Rome"}},
		Plans: []metering.PlanFrom{{Plan: "p"}}, Hooks: []metering.Hook{{URL: "https://h.example/x?a='b'", SecretEnv: "S"}}, CreatedAt: noon,
	}
	sub := &metering.Account{
		ID: "acme-marketing", ParentID: "acme", Module: metering.Reseller, Currency: "EUR", Source: metering.SourceAllocated,
		MonthlyLimit: &limit, Channels: []metering.ChannelsFrom{{From: noon, Channels: []string{"sms"}}}, CreatedAt: noon,
	}
	plan := &metering.Plan{ID: "p", Currency: "EUR"}
	require.NoError(t, l.SaveCatalog(t.Context(), 1, []*metering.Account{parent, sub}, []*metering.Plan{plan}, noon))
	require.NoError(t, l.SaveCatalog(t.Context(), 2, nil, nil, noon))
	renamed := *sub
	renamed.Name = "renamed"
	require.NoError(t, l.SaveCatalog(t.Context(), 3, []*metering.Account{&renamed}, nil, noon.Add(time.Hour)))

	s, err := l.Snapshot(t.Context())
	require.NoError(t, err)
	require.Empty(t, s.Faults)
	require.EqualValues(t, 3, s.Catalog)
	require.Equal(t, []string{"acme"}, s.Parents)
	got := *s.Accounts["acme"]
	require.NotNil(t, got.Calendar)
	got.Calendar, got.Priced, got.PlanCatalog = nil, nil, 0
	want := *parent
	want.Catalog, want.First = 1, 1
	require.Equal(t, want, got)
	require.Equal(t, "renamed", s.Accounts["acme-marketing"].Name)
	require.EqualValues(t, 3, s.Accounts["acme-marketing"].Catalog)
	require.EqualValues(t, 1, s.Accounts["acme-marketing"].First)
	require.Equal(t, limit, *s.Accounts["acme-marketing"].MonthlyLimit)
	require.EqualValues(t, 3, s.Accounts["acme-marketing"].Catalog)
	require.EqualValues(t, 1, s.Plans["p"].Catalog)

	// A number is of one change: who has read it looks for what is newer.
	again := func(a *metering.Account) error {
		return l.SaveCatalog(t.Context(), 3, []*metering.Account{a}, nil, noon.Add(time.Hour))
	}
	require.NoError(t, again(&renamed))
	renamed.Name = "of another"
	require.ErrorIs(t, again(&renamed), ErrNumberTaken)
	require.ErrorIs(t, again(parent), ErrNumberTaken)

	accounts, err := l.accountsOf(t.Context(), "acme")
	require.NoError(t, err)
	require.Equal(t, []string{"acme", "acme-marketing"}, accounts)
}
