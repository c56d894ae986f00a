package traffic

// FirstLines are messages with copies and refused records among them.
func FirstLines(w *Workload, o *Oracle, n int) []string {
	lines := make([]string, 0, n)
	var refused []string
	for len(lines) < n {
		switch p := w.rnd.IntN(1000); {
		case p < 35 && len(w.sent) > 0:
			u := w.Older()
			lines = append(lines, u.Line())
			o.Take(u)
		case p < 65:
			u := w.wrong()
			lines = append(lines, u.Line())
			if o.Take(u) == Quarantined { // an account that a test didn't close isn't closed
				refused = append(refused, u.Line())
			}
		case p < 80:
			line := w.malformed()
			lines = append(lines, line)
			o.raw(line)
			refused = append(refused, line)
		case p < 85 && len(refused) > 0:
			line := refused[w.rnd.IntN(len(refused))]
			lines = append(lines, line)
			o.refuse(line, o.Refused[line])
		default:
			u := w.Message()
			lines = append(lines, u.Line())
			if o.Take(u) == Stored {
				w.sent = append(w.sent, u)
			}
		}
	}
	return lines
}

// SecondLines refer to messages that are stored. No two of them depend on one
// another.
func SecondLines(w *Workload, o *Oracle, n int) (lines []string, refunds []*Usage) {
	refunded := map[string]bool{}
	for len(lines) < n {
		var u *Usage
		switch p := w.rnd.IntN(100); {
		case p < 30:
			u = w.restamped()
		case p < 45:
			u = w.conflict()
		case p < 75:
			u = w.status()
		default:
			m := w.Older()
			if refunded[m.ID] {
				continue
			}
			refunded[m.ID] = true
			u = w.Refund(m)
			if w.chance(30) {
				u.Amount = w.pick("0.000001", "0.01", "999999")
			}
			refunds = append(refunds, u)
		}
		lines = append(lines, u.Line())
		o.Take(u)
	}
	return lines, refunds
}

// ThirdLines are copies of refunds, second refunds of a message, refunds
// without a message, and messages.
func ThirdLines(w *Workload, o *Oracle, refunds []*Usage, n int) []string {
	lines := make([]string, 0, n)
	for len(lines) < n {
		u := w.Message()
		switch p := w.rnd.IntN(100); {
		case p < 20:
			u = refunds[w.rnd.IntN(len(refunds))]
		case p < 40:
			c := *refunds[w.rnd.IntN(len(refunds))]
			if o.Content[Key(c.AccountID, "refund", c.RefersTo)] == "" {
				continue // refused the first time: this one would be applied
			}
			c.ID, c.Amount = w.id("r"), ""
			u = &c
		case p < 50:
			u = w.Refund(&Usage{ID: w.id("never"), AccountID: u.AccountID, At: u.At})
		}
		lines = append(lines, u.Line())
		o.Take(u)
	}
	return lines
}
