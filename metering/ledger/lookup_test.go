package ledger

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering"
)

// oddTexts are what an id, a note or a tag may hold to hurt a query.
var oddTexts = []string{
	"plain", "it's", `"double"`, `back\slash`, `\`, `\\`, `\'`, `\n`, `\N`, `\0`, "line\nbreak", "carriage\rreturn", "tab\tbed",
	"nul\x00inside", "\x00", "\b\f\v\x1b", "ünïcödé", "日本語", "😀", "[1,'2']", "',('", "{id:String}", "a b%20c+d&e=f#g?h", " lead", "trail ",
	strings.Repeat("'", 128), strings.Repeat("\\", 128), "NULL", "--", "/*", "`", "\u2028",
}

func TestLookupOfOddIDs(t *testing.T) {
	t.Parallel()
	l := open(t)
	var rows []Row
	var ids []metering.Identity
	for i, id := range oddTexts {
		r := sent(id, noon)
		r.Hash = uint64(i) + 100
		rows = append(rows, r)
		ids = append(ids, r.Record.Identity())
	}
	put(t, l, noon, rows...)
	found, err := l.Lookup(t.Context(), append(ids, metering.Identity{AccountID: "acme-marketing", Kind: metering.KindUsage, ID: "absent"},
		metering.Identity{AccountID: "acme-support", Kind: metering.KindUsage, ID: "plain"},
		metering.Identity{AccountID: "acme-marketing", Kind: metering.KindRefund, ID: "plain"}))
	require.NoError(t, err)
	require.Len(t, found, len(oddTexts))
	for i, id := range ids {
		require.Equal(t, Stored{Hash: uint64(i) + 100, Status: rows[i].Record.Status, At: noon}, found[id], "%q", id.ID)
	}
	for _, id := range ids { // alone: nothing else in the parameter helps
		found, err := l.Lookup(t.Context(), []metering.Identity{id})
		require.NoError(t, err, "%q", id.ID)
		require.Len(t, found, 1, "%q", id.ID)
	}
	var keys []MessageKey
	for _, id := range ids {
		keys = append(keys, MessageKey{id.AccountID, id.ID})
	}
	messages, err := l.Messages(t.Context(), keys)
	require.NoError(t, err)
	require.Len(t, messages, len(oddTexts))
	require.Equal(t, Message{
		ChargedSoFar: metering.ChargedSoFar{Amount: 50_000, Fee: 10_000}, Purse: metering.PurseBudget, Currency: "EUR", Channel: "sms", Direction: "outbound",
		Country: "IT", Network: "22210", Category: "marketing", Plan: "standard-eur", Version: 1, Rule: 1, Epoch: 1, Hash: rows[1].Hash,
	}, messages[keys[1]])
}

func TestLookupOfThousands(t *testing.T) {
	t.Parallel()
	l := open(t)
	var rows []Row
	var ids []metering.Identity
	for i := range 2 * lookupBytesMax / hashBytes {
		r := sent(fmt.Sprintf("%s-%d", strings.Repeat("x'", 60), i), noon)
		rows = append(rows, r)
		ids = append(ids, r.Record.Identity())
	}
	put(t, l, noon, rows...)
	found, err := l.Lookup(t.Context(), ids)
	require.NoError(t, err)
	require.Len(t, found, len(ids))
	keys := make([]MessageKey, lookupMax+1)
	for i := range keys {
		keys[i] = MessageKey{ids[i].AccountID, ids[i].ID}
	}
	messages, err := l.Messages(t.Context(), keys)
	require.NoError(t, err)
	require.Len(t, messages, len(keys))
	none, err := l.Lookup(t.Context(), nil)
	require.NoError(t, err)
	require.Empty(t, none)
}

// Who asks while others wait is answered with them.
func TestLookupsAreJoined(t *testing.T) {
	t.Parallel()
	l := open(t)
	const callers = 40
	rows := make([]Row, callers)
	for i := range rows {
		rows[i] = sent(fmt.Sprintf("m-%d", i), noon)
		rows[i].Hash = uint64(i)
	}
	put(t, l, noon, rows...)
	for range lookupsAtOnce { // nobody's turn yet
		l.lookups <- struct{}{}
	}
	answers := make(chan error, callers)
	for i := range rows {
		go func() {
			id := rows[i].Record.Identity()
			found, err := l.Lookup(t.Context(), []metering.Identity{id})
			if err == nil && (found[id].Hash != uint64(i) || len(found) != 1) {
				err = fmt.Errorf("caller %d: %d of %d identities", i, found[id].Hash, len(found))
			}
			answers <- err
		}()
	}
	require.Eventually(t, func() bool {
		l.asking.Lock()
		defer l.asking.Unlock()
		return len(l.asked) == callers
	}, time.Minute, time.Millisecond)
	<-l.lookups
	for range callers {
		require.NoError(t, <-answers)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	l.lookups <- struct{}{}
	_, err := l.Lookup(ctx, []metering.Identity{rows[0].Record.Identity()})
	require.ErrorIs(t, err, context.Canceled, "who goes away waits for nobody")
}

func TestLookupTakesTheNewestEpoch(t *testing.T) {
	t.Parallel()
	l := open(t)
	newer := sent("m", noon)
	newer.Epoch, newer.Hash = 2, 99
	put(t, l, noon, newer)
	put(t, l, noon, sent("m", noon))
	found, err := l.Lookup(t.Context(), []metering.Identity{newer.Record.Identity()})
	require.NoError(t, err)
	require.EqualValues(t, 99, found[newer.Record.Identity()].Hash)
}
