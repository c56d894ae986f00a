package pipeline

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/ledger"
)

// DueRefunds brings refunds back whose message has come, and quarantines those
// that have waited for longer than waitMax.
func (pl *Pipeline) DueRefunds(ctx context.Context, waitMax time.Duration) error {
	now := pl.clock.Now().UTC()
	var done []ledger.Waiting
	var late []ledger.Entry
	err := pl.ledger.WaitingRefunds(ctx, now.Add(-waitMax), func(wt *ledger.Waiting, come bool) error {
		if come {
			sum := sha256.Sum256(append([]byte(wt.AccountID+"\x00"+wt.ID+"\x00"+wt.Since.String()), wt.Raw...))
			id := "wait-" + hex.EncodeToString(sum[:16])
			payload, err := pl.codec.EncodeHead(wire.RefundHeader{}, [][]byte{wt.Raw})
			if err != nil {
				return fmt.Errorf("waiting refund: %w", err)
			}
			if err := pl.enqueue(ctx, wire.TypeRefund, id, payload, 0); err != nil {
				return err
			}
		} else {
			t := newTask("", [][]byte{wt.Raw}, true)
			t.run = wt.Run
			detail := "refers_to: no such message came in time; enqueue the message, then replay"
			if from := pl.snapshots.Current().RowsFrom; !from.IsZero() {
				detail = fmt.Sprintf("refers_to: no such message came in time; if it is of before %s its row is gone: discard this, and book a wallet adjustment if it is due; else enqueue the message, then replay", from.Format(time.RFC3339))
			}
			late = append(late, pl.entry(t, 0, metering.ReasonUnknownMessage, detail))
		}
		// Newer than the row, though the clock of who wrote it may be ahead.
		wt.Done, wt.Version = true, uint64(max(wt.Since.UnixMicro()+1000, now.UnixMicro()))
		done = append(done, *wt)
		return nil
	})
	if err != nil {
		return err
	}
	if err := pl.ledger.OpenQuarantine(ctx, late); err != nil {
		return err
	}
	return pl.ledger.InsertWaiting(ctx, done)
}

// SendRefunds hands refund records over as a task that is named by them: handed over
// again it is the same.
func (pl *Pipeline) SendRefunds(ctx context.Context, prefix string, lines [][]byte) error {
	payload, err := pl.codec.EncodeHead(wire.RefundHeader{}, lines)
	if err != nil {
		return fmt.Errorf("hand over %d refunds: %w", len(lines), err)
	}
	return pl.enqueue(ctx, wire.TypeRefund, idOf(prefix, lines), payload, 0)
}
