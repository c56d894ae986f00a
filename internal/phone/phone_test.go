package phone

import (
	"math/rand/v2"
	"regexp/syntax"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/nyaruka/phonenumbers"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCountry(t *testing.T) {
	t.Parallel()
	for number, want := range map[string]string{
		"+393201234567":    "IT",
		"+390669812345":    "VA",
		"+12125551234":     "US",
		"+14165551234":     "CA",
		"+18765551234":     "JM",
		"+17875551234":     "PR",
		"+18005551234":     "US",
		"+79161234567":     "RU",
		"+77011234567":     "KZ",
		"+447400123456":    "GB",
		"+447911123456":    "GG",
		"+447781123456":    "GG",
		"+447797712345":    "JE",
		"+447624123456":    "IM",
		"+212612345678":    "MA",
		"+212528812345":    "MA",
		"+262269601234":    "YT",
		"+590590201234":    "GP",
		"+590590271234":    "BL",
		"+59995181234":     "CW",
		"+5997171234":      "BQ",
		"+358401234567":    "FI",
		"+358181234567":    "AX",
		"+4779123456":      "SJ",
		"+61891641234":     "CX",
		"+9779841234567":   "NP",
		"+919876543210":    "IN",
		"+39 320 12.34-56": "IT",
		"+44 (0)7400 1234": "GB",
		// Not assigned, but the calling code is known.
		"+10000000000":  "US",
		"+1":            "US",
		"+39":           "IT",
		"+7000":         "RU",
		"+490":          "DE",
		"+441800200000": "GB",
		// No country at all.
		"":                     "",
		"+":                    "",
		"+0":                   "",
		"+999123456":           "",
		"+80012345678":         "",
		"+882161234567":        "",
		"ACME":                 "",
		"40404":                "",
		"393201234567":         "",
		"+39x":                 "",
		"+39320123456\n":       "",
		"+3932012345678901234": "",
		"whatsapp:+3932012345": "",
	} {
		assert.Equal(t, want, Country(number), "number %q", number)
		assert.Equal(t, want, Country(number), "number %q, second time", number)
	}
}

func TestInternational(t *testing.T) {
	t.Parallel()
	for number, want := range map[string]bool{
		"393201234567":     true,
		"39 320 123-4567":  true,
		"14165550101":      true,
		"8705550123":       false, // national: no such number under 870
		"8725550123":       false, // 872 is no calling code
		"4155550123":       false, // national: Switzerland's are longer
		"39320":            false, // a short code
		"393201":           false,
		"39BANK":           false,
		"":                 false,
		"3932012345678901": false,
	} {
		assert.Equal(t, want, International(number), "number %q", number)
	}
}

// library answers as the library does, and by the code's main region otherwise.
func library(digits string) string {
	number, err := phonenumbers.Parse("+"+digits, "ZZ")
	if err == nil {
		if r := phonenumbers.GetRegionCodeForNumber(number); len(r) == 2 {
			return r
		}
	}
	for n := 1; n <= min(3, len(digits)); n++ {
		code, err := strconv.Atoi(digits[:n])
		if err != nil || !phonenumbers.GetSupportedCallingCodes()[code] {
			continue
		}
		if r := phonenumbers.GetRegionCodeForCountryCode(code); len(r) == 2 {
			return r
		}
		return ""
	}
	return ""
}

// sharedCodes are the calling codes of several countries.
func sharedCodes() []int {
	var codes []int
	for code := range phonenumbers.GetSupportedCallingCodes() {
		if len(phonenumbers.GetRegionCodesForCountryCode(code)) > 1 {
			codes = append(codes, code)
		}
	}
	return codes
}

func TestCountryAgreesWithLibrary(t *testing.T) {
	t.Parallel()
	// A fresh cache, and few leading digits with many tails: a key that is too
	// short is hit again and again with numbers that it confuses.
	l := newLookup()
	rng := rand.New(rand.NewPCG(1, 2))
	for range 40_000 {
		digits := randomNumber(rng)
		require.Equal(t, library(digits), l.country([]byte(digits)), "+%s", digits)
	}
}

func TestCountryAgreesNearExamples(t *testing.T) {
	t.Parallel()
	l := newLookup()
	rng := rand.New(rand.NewPCG(3, 4))
	for region := range phonenumbers.GetSupportedRegions() {
		for kind := phonenumbers.FIXED_LINE; kind <= phonenumbers.VOICEMAIL; kind++ {
			example := phonenumbers.GetExampleNumberForType(region, kind)
			if example == nil {
				continue
			}
			base := phonenumbers.Format(example, phonenumbers.E164)[1:]
			for range 6 {
				digits := []byte(base)
				for range rng.IntN(4) {
					digits[1+rng.IntN(len(digits)-1)] = "0123456789"[rng.IntN(10)]
				}
				require.Equal(t, library(string(digits)), l.country(digits), "+%s", digits)
			}
		}
	}
}

// randomNumber prefers shared calling codes, trunk prefixes and odd lengths.
func randomNumber(rng *rand.Rand) string {
	codes := []string{"1", "1", "7", "39", "44", "44", "47", "61", "212", "262", "290", "358", "590", "599"}
	var b strings.Builder
	if rng.IntN(10) == 0 {
		b.WriteString(strconv.Itoa(1 + rng.IntN(999)))
	} else {
		b.WriteString(codes[rng.IntN(len(codes))])
	}
	for _, trunk := range []string{"0", "1", "8", "180020", "1831"} {
		if rng.IntN(25) == 0 {
			b.WriteString(trunk)
		}
	}
	length := 9 + rng.IntN(3)
	if rng.IntN(5) == 0 {
		length = rng.IntN(15)
	}
	for range length {
		// Two of three digits from a small set, so that blocks repeat.
		if rng.IntN(3) == 0 {
			b.WriteByte("0123456789"[rng.IntN(10)])
		} else {
			b.WriteByte("0257"[rng.IntN(4)])
		}
	}
	return b.String()[:min(b.Len(), digitsMax)]
}

// TestDepthsCoverPatterns reads from the library's own patterns how many
// national digits can matter, so an update of its data can't outgrow splitPlan.
func TestDepthsCoverPatterns(t *testing.T) {
	t.Parallel()
	collection, err := phonenumbers.MetadataCollection()
	require.NoError(t, err)
	regions := map[string]*phonenumbers.PhoneMetadata{}
	for _, m := range collection.GetMetadata() {
		regions[m.GetId()] = m
	}
	for _, code := range sharedCodes() {
		p, ok := splitPlan(code)
		require.True(t, ok, "+%d is shared: add it to splitPlan", code)
		for _, name := range phonenumbers.GetRegionCodesForCountryCode(code) {
			for _, pattern := range patterns(regions[name]) {
				re, err := syntax.Parse(pattern, syntax.Perl)
				require.NoError(t, err)
				deepest := 0
				walk(t, re, 0, &deepest)
				require.LessOrEqual(t, deepest, p.depth, "+%d %s: raise splitPlan's depth for %s", code, name, pattern)
			}
		}
	}
}

// patterns are the expressions that decide a region: its leading digits where
// it has them, else whether the number is any kind of valid number there. The
// general one also decides whether a trunk prefix is taken off.
func patterns(m *phonenumbers.PhoneMetadata) []string {
	if leading := m.GetLeadingDigits(); leading != "" {
		return []string{leading, m.GetGeneralDesc().GetNationalNumberPattern()}
	}
	var all []string
	for _, d := range []*phonenumbers.PhoneNumberDesc{
		m.GetGeneralDesc(), m.GetFixedLine(), m.GetMobile(), m.GetTollFree(), m.GetPremiumRate(), m.GetSharedCost(),
		m.GetPersonalNumber(), m.GetVoip(), m.GetPager(), m.GetUan(), m.GetVoicemail(),
	} {
		if p := d.GetNationalNumberPattern(); p != "NA" {
			all = append(all, p)
		}
	}
	return all
}

// walk follows a pattern that starts at position at, returns where it ends at
// the latest, and raises deepest to the last position that isn't any digit.
func walk(t *testing.T, re *syntax.Regexp, at int, deepest *int) int {
	t.Helper()
	switch re.Op { //nolint:exhaustive // the default refuses the rest
	case syntax.OpEmptyMatch:
	case syntax.OpLiteral:
		at += len(re.Rune)
		*deepest = max(*deepest, at)
	case syntax.OpCharClass:
		at++
		if string(re.Rune) != "09" {
			*deepest = max(*deepest, at)
		}
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			at = walk(t, sub, at, deepest)
		}
	case syntax.OpAlternate:
		end := at
		for _, sub := range re.Sub {
			end = max(end, walk(t, sub, at, deepest))
		}
		at = end
	case syntax.OpCapture, syntax.OpQuest:
		at = walk(t, re.Sub[0], at, deepest)
	case syntax.OpRepeat:
		require.Positive(t, re.Max, "an open repeat needs thought")
		for range re.Max {
			at = walk(t, re.Sub[0], at, deepest)
		}
	default:
		t.Fatalf("pattern operator %v needs thought", re.Op)
	}
	return at
}

func TestCountryConcurrently(t *testing.T) {
	t.Parallel()
	want := map[string]string{"+12125551234": "US", "+14165551234": "CA", "+447781123456": "GG", "+77011234567": "KZ"}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 2_000 {
				for number, country := range want {
					if got := Country(number); got != country {
						t.Errorf("%s: got %q, want %q", number, got, country)
						return
					}
				}
			}
		})
	}
	wg.Wait()
}

// AllocsPerRun wants the process for itself, so this test isn't parallel.
func TestCountryAllocatesNothing(t *testing.T) {
	Country("+447781123456")
	require.Zero(t, testing.AllocsPerRun(100, func() {
		Country("+447781123456")
		Country("+393201234567")
		Country("+919876543210")
		Country("ACME")
	}))
}

func BenchmarkCountry(b *testing.B) {
	for _, number := range []string{"+919876543210", "+12125551234", "+447781123456", "+393201234567"} {
		b.Run(number, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Country(number)
			}
		})
	}
}
