package metering

// minorDigits are the decimals of the ISO 4217 currencies that don't have two.
//
//nolint:gochecknoglobals // a constant table; Go has no constant maps
var minorDigits = map[string]int{
	"BIF": 0, "CLP": 0, "DJF": 0, "GNF": 0, "ISK": 0, "JPY": 0, "KMF": 0, "KRW": 0, "PYG": 0,
	"RWF": 0, "UGX": 0, "UYI": 0, "VND": 0, "VUV": 0, "XAF": 0, "XOF": 0, "XPF": 0,
	"BHD": 3, "IQD": 3, "JOD": 3, "KWD": 3, "LYD": 3, "OMR": 3, "TND": 3,
	"CLF": 4, "UYW": 4,
}

// currencies are the alphabetic codes of ISO 4217's list one that money can be
// kept in, funds codes included; metals, bond units, XDR, XTS and XXX are not.
// Each takes four bytes.
const currencies = "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN " +
	"BAM BBD BDT BGN BHD BIF BMD BND BOB BOV BRL BSD BTN BWP BYN BZD " +
	"CAD CDF CHE CHF CHW CLF CLP CNY COP COU CRC CUP CVE CZK " +
	"DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD " +
	"HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY " +
	"KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD " +
	"MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN " +
	"NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF " +
	"SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL " +
	"THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD USN UYI UYU UYW UZS " +
	"VED VES VND VUV WST XAD XAF XCD XCG XOF XPF YER ZAR ZMW ZWG "

// MinorDigits is the number of decimals of the currency's minor unit by ISO
// 4217: 2 for EUR, 0 for JPY, 3 for KWD; 2 for a code that isn't known.
func MinorDigits(currency string) int {
	if n, ok := minorDigits[currency]; ok {
		return n
	}
	return 2
}

// KnownCurrency tells whether code is an ISO 4217 currency, in upper case.
func KnownCurrency(code string) bool {
	if len(code) != 3 || !upperLetters(code) {
		return false
	}
	for i := 0; i < len(currencies); i += 4 {
		if currencies[i:i+3] == code {
			return true
		}
	}
	return false
}

// upperLetters tells whether s consists of A–Z only.
func upperLetters(s string) bool {
	for i := range len(s) {
		if s[i] < 'A' || s[i] > 'Z' {
			return false
		}
	}
	return true
}
