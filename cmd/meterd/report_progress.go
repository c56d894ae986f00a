package main

import (
	"os"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// reportProgress shows on a terminal how many messages are written, how fast,
// and how long the rest takes. Call finish when all is done.
func (a *app) reportProgress() (told func(done, total int64), finish func()) {
	f, ok := a.err.(*os.File)
	if !ok || !isTerminal(f) || a.JSON {
		return nil, func() {}
	}
	var p *mpb.Progress
	var b *mpb.Bar
	told = func(done, total int64) {
		if p == nil {
			p = mpb.New(mpb.WithOutput(f), mpb.WithWidth(60))
			b = p.AddBar(total,
				mpb.PrependDecorators(decor.Name("messages "), decor.Percentage()),
				mpb.AppendDecorators(decor.AverageSpeed(0, "%.0f/s"), decor.Name(" "), decor.AverageETA(decor.ET_STYLE_GO)),
			)
		}
		b.SetTotal(max(total, done), false)
		b.SetCurrent(done)
	}
	return told, func() {
		if p != nil {
			b.SetTotal(-1, true)
			p.Wait()
		}
	}
}
