package pipeline

import (
	"context"
	"errors"
	"fmt"

	"github.com/meterd/meterd/internal/wire"
)

// recordsInHand bounds the records of all tasks in hand (about 1 KB each with
// all that is made of them), however large the tasks are.
const recordsInHand = 256 << 10

// asideMax bounds the lines on their way to the ledger that aren't rows, in KB: a
// handler whose insert takes long lets go of its room, and the insert keeps them.
const asideMax = 128 << 10

// unpackingMax bounds the bytes of payloads that are unpacked and wait until their
// records may be in hand: the others wait in Redis's few bytes. Of each line there is
// a slice beside its text.
const (
	unpackingMax = wire.PayloadMax + 64<<20
	sliceBytes   = 24
)

// unpackedMost is what a payload may take unpacked, as far as it tells.
func unpackedMost(payload []byte) int64 {
	text := min(wire.Unpacked(payload), wire.PayloadMax)
	return int64(text + sliceBytes*min(text/2+1, wire.LinesMax))
}

// unpack takes a payload apart, its head into head unless that is nil, and waits
// until its records may be in hand. ErrPayload: it can't be taken apart.
func (pl *Pipeline) unpack(ctx context.Context, payload []byte, head any) (lines [][]byte, release func(), err error) {
	held := unpackedMost(payload)
	if err := pl.unpacking.Acquire(ctx, held); err != nil {
		return nil, nil, fmt.Errorf("wait for other payloads to be unpacked: %w", err)
	}
	defer func() { pl.unpacking.Release(held) }()
	if head == nil {
		lines, err = pl.codec.Decode(payload)
	} else {
		lines, err = pl.codec.DecodeHead(payload, head)
	}
	if err != nil {
		return nil, nil, err
	}
	size := 0
	for _, l := range lines {
		size += len(l)
	}
	if less := held - int64(size+sliceBytes*len(lines)); less > 0 { // it didn't tell more
		pl.unpacking.Release(less)
		held -= less
	}
	release, err = pl.hold(ctx, max(len(lines), size>>10))
	return lines, release, err
}

// take makes a task of a payload and has it run, while its records may be in hand. What
// can't be taken apart, or is no task of its type, is quarantined whole.
func (pl *Pipeline) take(ctx context.Context, id, typ string, payload []byte, head any, decode func(lines [][]byte) (*task, error), run func(context.Context, *task) error) error {
	lines, release, err := pl.unpack(ctx, payload, head)
	if errors.Is(err, wire.ErrPayload) {
		return pl.unreadable(ctx, id, typ, payload, err)
	}
	if err != nil {
		return err
	}
	defer release()
	t, err := decode(lines)
	if err != nil {
		return pl.unreadable(ctx, id, typ, payload, err)
	}
	return run(ctx, t)
}

// hold waits until so many records may be in hand.
func (pl *Pipeline) hold(ctx context.Context, records int) (release func(), err error) {
	n := int64(min(records, recordsInHand))
	if err := pl.room.Acquire(ctx, n); err != nil {
		return nil, fmt.Errorf("wait for other records to be stored: %w", err)
	}
	return func() { pl.room.Release(n) }, nil
}
