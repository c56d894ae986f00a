package phone

const (
	// depthUnknown serves a shared calling code that splitPlan doesn't list,
	// should the library's data ever gain one: slower, still right.
	depthUnknown = 9
	// anyTrunk stands for "every first digit may be a trunk prefix".
	anyTrunk = 0xFF
)

// plan is one calling code.
type plan struct {
	known bool
	main  region // the code's main country
	split bool   // several countries share the code
	depth int    // leading national digits that tell them apart
	trunk byte   // the national trunk prefix that people leave in, or 0
}

// splitPlan returns depth and trunk prefix of a calling code that several
// countries share. Together with a number's length they make the cache key:
// numbers that agree in both have the same country. A test works the depths
// out from the library's patterns, so new data can't make them wrong unseen.
func splitPlan(code int) (plan, bool) {
	switch code {
	case 1: // US, CA and the Caribbean: area code and exchange
		return plan{depth: 6, trunk: '1'}, true
	case 7: // RU, KZ
		return plan{depth: 5, trunk: '8'}, true
	case 39: // IT, VA
		return plan{depth: 5}, true
	case 44: // GB, GG, IM, JE
		return plan{depth: 7, trunk: '0'}, true
	case 47: // NO, SJ
		return plan{depth: 5}, true
	case 61: // AU, CC, CX; the trunk prefix may also be 1831 or 1832
		return plan{depth: 10, trunk: '0'}, true
	case 212: // MA, EH
		return plan{depth: 5, trunk: '0'}, true
	case 262: // RE, YT
		return plan{depth: 5, trunk: '0'}, true
	case 290: // SH, TA
		return plan{depth: 3}, true
	case 358: // FI, AX
		return plan{depth: 4, trunk: '0'}, true
	case 590: // GP, BL, MF
		return plan{depth: 5, trunk: '0'}, true
	case 599: // CW, BQ
		return plan{depth: 4}, true
	}
	return plan{}, false
}

// significant returns how many leading digits, calling code included, decide
// the country of a number of this length.
func (p *plan) significant(digits []byte, codeLen int) int {
	n := codeLen + p.depth
	if codeLen < len(digits) && (p.trunk == anyTrunk || digits[codeLen] == p.trunk) {
		n++ // the digits that matter stand one further on
	}
	return min(n, len(digits))
}
