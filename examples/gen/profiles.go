package main

import "time"

// share is one choice of several and its weight among them.
type share struct {
	what   string
	weight int
}

// profile is how one account sends.
type profile struct {
	account  string
	currency string
	perMille int      // of all messages
	burst    int      // of those, the percentage sent within the last burstFor
	offset   string   // of its times, as its systems write them
	prefix   string   // of its message ids: "" for UUIDs
	sender   string   // of outbound, recipient of inbound
	channels []share  // what it sends by
	rcs      []share  // countries with an RCS price
	to       []share  // where to
	tags     []string // its campaigns
}

// burstFor is short so that a monthly limit is reached within one month even
// when the demo runs on the first of it.
const burstFor = 40 * time.Minute

// profiles are the demo's accounts. The shares add up to 1,000; the funds in
// run.sh and the limits in accounts.yaml are set against them, and a test
// works out that each limit is reached, or not, with room to spare.
func profiles() []profile {
	return append(acme(), append(globex(), append(saffron(), himal()...)...)...)
}

func acme() []profile {
	europe := []share{{"IT", 70}, {"FR", 9}, {"DE", 8}, {"ES", 6}, {"GB", 3}, {"CH", 2}, {"PL", 2}}
	campaigns := []string{"autumn-sale", "back-in-stock", "new-stores"}
	return []profile{
		{
			account: "acme", currency: "EUR", perMille: 30, offset: "+01:00", sender: "ACME", to: europe,
			channels: []share{{"sms", 70}, {"email", 30}},
		},
		{
			account: "acme-marketing", currency: "EUR", perMille: 180, offset: "+01:00", sender: "ACME", to: europe,
			channels: []share{{"sms", 55}, {"whatsapp", 45}}, tags: campaigns,
		},
		{
			account: "acme-support", currency: "EUR", perMille: 100, offset: "+01:00", sender: "+390662201234", to: europe,
			channels: []share{{"sms", 55}, {"voice", 45}},
		},
		{
			account: "acme-loyalty", currency: "EUR", perMille: 75, burst: 50, offset: "+01:00", sender: "ACMECLUB", to: europe,
			channels: []share{{"sms", 65}, {"mms", 5}, {"rcs", 15}, {"email", 15}}, rcs: []share{{"IT", 80}, {"FR", 20}},
			tags: []string{"points", "birthday"},
		},
		{
			account: "acme-franchise", currency: "EUR", perMille: 50, offset: "Z", sender: "ACMELONDON",
			to:       []share{{"GB", 70}, {"IT", 30}},
			channels: []share{{"sms", 40}, {"email", 30}, {"verify", 30}}, tags: []string{"opening"},
		},
	}
}

func globex() []profile {
	america := []share{{"US", 72}, {"CA", 10}, {"MX", 8}, {"BR", 6}, {"JP", 2}, {"AE", 2}}
	return []profile{
		{
			account: "globex", currency: "USD", perMille: 30, offset: "Z", prefix: "SM", sender: "+12125550100", to: america,
			channels: []share{{"sms", 50}, {"voice", 30}, {"mms", 10}, {"verify", 10}},
		},
		{
			account: "globex-shop", currency: "USD", perMille: 130, offset: "Z", prefix: "SM", sender: "+14155550101", to: america,
			channels: []share{{"sms", 100}}, tags: []string{"holiday", "cart-reminder"},
		},
		{
			account: "globex-clinic", currency: "USD", perMille: 110, offset: "-05:00", prefix: "SM", sender: "+13125550102",
			to:       []share{{"US", 97}, {"CA", 3}},
			channels: []share{{"sms", 60}, {"email", 40}}, tags: []string{"appointments"},
		},
	}
}

func saffron() []profile {
	india := []share{{"IN", 94}, {"AE", 3}, {"US", 1}, {"GB", 1}, {"NG", 1}}
	return []profile{
		{
			account: "saffron", currency: "INR", perMille: 20, offset: "+05:30", sender: "SAFRON", to: india,
			channels: []share{{"sms", 60}, {"whatsapp", 40}},
		},
		{
			account: "saffron-pay", currency: "INR", perMille: 90, offset: "+05:30", sender: "SAFPAY", to: india,
			channels: []share{{"sms", 60}, {"verify", 40}},
		},
		{
			account: "saffron-store", currency: "INR", perMille: 90, offset: "+05:30", sender: "+918045670103", to: india,
			channels: []share{{"sms", 40}, {"whatsapp", 35}, {"voice", 10}, {"rcs", 15}}, rcs: []share{{"IN", 1}},
			tags: []string{"diwali", "clearance"},
		},
	}
}

func himal() []profile {
	nepal := []share{{"NP", 94}, {"IN", 3}, {"GB", 1}, {"ZA", 1}, {"AE", 1}}
	return []profile{
		{
			account: "himal", currency: "NPR", perMille: 15, offset: "+05:45", sender: "HIMAL", to: nepal,
			channels: []share{{"sms", 60}, {"email", 40}},
		},
		{
			account: "himal-bank", currency: "NPR", perMille: 45, burst: 60, offset: "+05:45", sender: "HIMALBANK", to: nepal,
			channels: []share{{"sms", 50}, {"verify", 40}, {"email", 10}},
		},
		{
			account: "himal-trek", currency: "NPR", perMille: 35, offset: "+05:45", sender: "+97714980104", to: nepal,
			channels: []share{{"sms", 45}, {"whatsapp", 40}, {"voice", 15}}, tags: []string{"annapurna", "everest"},
		},
	}
}
