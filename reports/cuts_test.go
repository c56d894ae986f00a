package reports

import (
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering"
)

// A parent's campaigns have the traffic of accounts that name none too; where none of
// them does, there is no list.
func TestCutsOfAccounts(t *testing.T) {
	t.Parallel()
	figures := func(n int64) Figures {
		f := Figures{Records: uint64(n), Amount: Money{Sum: metering.Micros(n).Sum()}, Net: Money{Sum: metering.Micros(n).Sum()}}
		f.in("EUR")
		return f
	}
	usage := func(country string, n int64) *Usage {
		u := &Usage{}
		u.Totals.Figures = figures(n)
		u.ByChannel = []ChannelLine{{Channel: "sms", Direction: "outbound", Unit: "segment", BilledUnits: decimal.New(n, 0), Figures: figures(n)}}
		u.ByCountry = []CountryLine{{Country: country, Figures: figures(n)}}
		return u
	}
	one, two, idle := usage("IT", 3), usage("FR", 4), &Usage{}
	require.Empty(t, cutsOf([]*Usage{one, two, idle}, "EUR").ByCampaign)
	one.ByCampaign = []CampaignLine{{Campaign: "autumn", BilledUnits: decimal.New(3, 0), Figures: figures(3)}}
	loose := Figures{Refunds: Money{Sum: metering.Micros(2).Sum()}}
	idle.ByChannel = []ChannelLine{{Channel: "sms", Direction: "outbound", Figures: loose}} // of a message of another time
	got := cutsOf([]*Usage{one, two, idle}, "EUR")
	require.Equal(t, []CountryLine{{Country: "FR", Figures: figures(4)}, {Country: "IT", Figures: figures(3)}}, got.ByCountry)
	require.Len(t, got.ByCampaign, 2)
	require.Equal(t, "", got.ByCampaign[0].Campaign)
	require.Equal(t, figures(4).Net, got.ByCampaign[0].Net)
	require.Equal(t, "4", got.ByCampaign[0].BilledUnits.String())
	require.Len(t, got.ByChannel, 1, "a refund without a unit is in the line of its channel")
	require.EqualValues(t, 7, got.ByChannel[0].Records)
	require.Equal(t, metering.Micros(2).Sum(), got.ByChannel[0].Refunds.Sum)
	require.Equal(t, "7", got.ByChannel[0].BilledUnits.String())
}
