package main

import (
	_ "embed" // for networks.csv
	"encoding/csv"
	"fmt"
	"math/rand/v2"
	"strings"
)

//go:embed networks.csv
var networksCSV string

// readNetworks returns each country's operators as MCC and MNC in one.
func readNetworks() (map[string][]string, error) {
	rows, err := csv.NewReader(strings.NewReader(networksCSV)).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("read networks.csv: %w", err)
	}
	networks := make(map[string][]string)
	for _, row := range rows[1:] {
		networks[row[0]] = append(networks[row[0]], row[1]+row[2])
	}
	return networks, nil
}

// numberRange is a country's calling code, the starts of some of its mobile
// numbers, and how many digits a national number has.
type numberRange struct {
	code   string
	starts []string
	length int
}

// rangeOf returns the mobile numbers of a country that the demo writes to.
func rangeOf(country string) numberRange {
	switch country {
	case "AE":
		return numberRange{"971", []string{"50", "52", "55", "56"}, 9}
	case "BR":
		return numberRange{"55", []string{"1198", "1197", "2199", "3198"}, 11}
	case "CA":
		return numberRange{"1", []string{"4164", "6047", "5146"}, 10}
	case "CH":
		return numberRange{"41", []string{"762", "782", "794"}, 9}
	case "DE":
		return numberRange{"49", []string{"1512", "1520", "1573", "1762"}, 11}
	case "ES":
		return numberRange{"34", []string{"612", "622", "655", "699"}, 9}
	case "FR":
		return numberRange{"33", []string{"612", "633", "670", "756"}, 9}
	case "GB":
		return numberRange{"44", []string{"7400", "7500", "7712", "7860"}, 10}
	case "IN":
		return numberRange{"91", []string{"9810", "9820", "9900", "9987", "7011"}, 10}
	case "IT":
		return numberRange{"39", []string{"320", "328", "333", "338", "347", "349", "391"}, 10}
	case "JP":
		return numberRange{"81", []string{"9012", "8034", "7041"}, 10}
	case "MX":
		return numberRange{"52", []string{"5512", "5534", "8112", "3312"}, 10}
	case "NG":
		return numberRange{"234", []string{"802", "803", "806"}, 10}
	case "NP":
		return numberRange{"977", []string{"9841", "9851", "9803", "9813"}, 10}
	case "PL":
		return numberRange{"48", []string{"501", "600", "601", "512"}, 9}
	case "US":
		return numberRange{"1", []string{"2126", "4153", "3127", "3057", "7024"}, 10}
	case "ZA":
		return numberRange{"27", []string{"82", "83", "72"}, 9}
	}
	panic("no number range for " + country) // a typing error in profiles.go
}

// countries are those that rangeOf knows.
const countries = "AE BR CA CH DE ES FR GB IN IT JP MX NG NP PL US ZA"

// number makes up a mobile number of the country.
func number(rng *rand.Rand, country string) string {
	r := rangeOf(country)
	start := r.starts[rng.IntN(len(r.starts))]
	digits := make([]byte, 0, 16)
	digits = append(digits, '+')
	digits = append(digits, r.code...)
	digits = append(digits, start...)
	for range r.length - len(start) {
		digits = append(digits, "0123456789"[rng.IntN(10)])
	}
	return string(digits)
}
