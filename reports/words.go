package reports

import "github.com/meterd/meterd/metering"

// Words for people where programs have code words: a report's page, sheet and mail say
// these, its JSON and CSV the code.

// kindWord names a kind of transfer, or what isn't one in a wallet's statement.
func kindWord(kind string, invoiced bool) string {
	switch metering.TransferKind(kind) {
	case metering.TransferTopup:
		return "Paid in"
	case metering.TransferAllocate:
		return "Allocated"
	case metering.TransferReclaim:
		return "Taken back"
	case metering.TransferAdjust:
		if invoiced {
			return "Adjusted, invoiced"
		}
		return "Adjusted"
	case metering.TransferSweep:
		return "Left over, taken back"
	case metering.TransferClose:
		return "Account closed, taken back"
	}
	switch kind {
	case lineCharges:
		return "Charges"
	case lineAdjustments:
		return "Late and corrections"
	}
	return kind
}

// otherWord names the other side of a movement, seen from a purse.
func otherWord(purse, other string) string {
	switch {
	case other == "":
		return ""
	case purse == string(metering.PurseWallet):
		return "budget of " + other
	}
	return "wallet of " + other
}
