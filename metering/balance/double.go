package balance

// double is what a Lua number will be; only integers within 2^53 get here, so
// it is exact.
func double(v int64) float64 { return float64(v) } //nolint:forbidigo // wire format of struct.unpack, exact below 2^53
