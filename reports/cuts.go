package reports

import (
	"cmp"
	"strings"
)

// Cuts are the same figures cut in several ways: the lines of each list sum to the
// figures of what they are of.
type Cuts struct {
	ByChannel  []ChannelLine  `json:"by_channel"`
	ByCountry  []CountryLine  `json:"by_country"`  // of destination
	ByCampaign []CampaignLine `json:"by_campaign"` // empty where no message names one
	ByDay      []DayLine      `json:"by_day"`
}

type channelKey [3]string // channel, direction, unit

// cutsFrom sorts lines, all but those of campaigns.
func cutsFrom(channels map[channelKey]*ChannelLine, countries map[string]*CountryLine, days map[string]*DayLine) Cuts {
	return Cuts{
		ByChannel: foldRefunds(sorted(channels, func(a, b ChannelLine) int {
			return cmp.Or(strings.Compare(a.Channel, b.Channel), -strings.Compare(a.Direction, b.Direction), strings.Compare(a.Unit, b.Unit))
		})),
		ByCountry:  sorted(countries, func(a, b CountryLine) int { return strings.Compare(a.Country, b.Country) }),
		ByCampaign: []CampaignLine{},
		ByDay:      sorted(days, func(a, b DayLine) int { return strings.Compare(a.Day, b.Day) }),
	}
}

// cutsOf sums the accounts' lines to their parent's.
func cutsOf(accounts []*Usage, currency string) Cuts {
	channels, countries := map[channelKey]*ChannelLine{}, map[string]*CountryLine{}
	campaigns, days := map[string]*CampaignLine{}, map[string]*DayLine{}
	named := false
	for _, u := range accounts {
		for i := range u.ByChannel {
			l := &u.ByChannel[i]
			sum := get(channels, channelKey{l.Channel, l.Direction, l.Unit}, func() ChannelLine {
				return ChannelLine{Channel: l.Channel, Direction: l.Direction, Unit: l.Unit}
			})
			sum.Units, sum.BilledUnits = sum.Units.Add(l.Units), sum.BilledUnits.Add(l.BilledUnits)
			sum.plus(&l.Figures)
		}
		for i := range u.ByCountry {
			l := &u.ByCountry[i]
			get(countries, l.Country, func() CountryLine { return CountryLine{Country: l.Country} }).plus(&l.Figures)
		}
		named = named || len(u.ByCampaign) > 0
		for _, l := range u.campaigns() {
			sum := get(campaigns, l.Campaign, func() CampaignLine { return CampaignLine{Campaign: l.Campaign} })
			sum.BilledUnits = sum.BilledUnits.Add(l.BilledUnits)
			sum.plus(&l.Figures)
		}
		for i := range u.ByDay {
			l := &u.ByDay[i]
			get(days, l.Day, func() DayLine { return DayLine{Day: l.Day} }).plus(&l.Figures)
		}
	}
	out := cutsFrom(channels, countries, days)
	if named {
		out.ByCampaign = sorted(campaigns, func(a, b CampaignLine) int { return strings.Compare(a.Campaign, b.Campaign) })
	}
	out.in(currency)
	return out
}

// campaigns are an account's lines; one that names none has all of it beside them, else
// its parent's lines wouldn't sum to the parent's figures.
func (u *Usage) campaigns() []CampaignLine {
	if len(u.ByCampaign) > 0 || len(u.ByChannel) == 0 {
		return u.ByCampaign
	}
	l := CampaignLine{Figures: u.Totals.Figures}
	for i := range u.ByChannel {
		l.BilledUnits = l.BilledUnits.Add(u.ByChannel[i].BilledUnits)
	}
	return []CampaignLine{l}
}

// in gives every amount its currency.
func (c *Cuts) in(currency string) {
	for i := range c.ByChannel {
		c.ByChannel[i].in(currency)
	}
	for i := range c.ByCountry {
		c.ByCountry[i].in(currency)
	}
	for i := range c.ByCampaign {
		c.ByCampaign[i].in(currency)
	}
	for i := range c.ByDay {
		c.ByDay[i].in(currency)
	}
}

// foldRefunds puts what has no unit, refunds of messages of another time, to
// the line of the same channel and direction with the most messages.
func foldRefunds(list []ChannelLine) []ChannelLine {
	out := make([]ChannelLine, 0, len(list))
	var loose []ChannelLine
	for _, l := range list {
		if l.Unit == "" && l.Records == 0 {
			loose = append(loose, l)
		} else {
			out = append(out, l)
		}
	}
	for _, l := range loose {
		best := -1
		for i := range out {
			if o := &out[i]; o.Channel == l.Channel && o.Direction == l.Direction && (best < 0 || o.Records > out[best].Records) {
				best = i
			}
		}
		if best < 0 {
			out = append(out, l)
		} else {
			out[best].plus(&l.Figures)
		}
	}
	return out
}
