package main_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
)

// proxy stands between meterd and one engine.
type proxy struct {
	tb testing.TB
	*toxiproxy.Proxy
}

func newProxy(tb testing.TB, name, upstream string) *proxy {
	tb.Helper()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	p := &proxy{tb: tb, Proxy: toxiproxy.NewProxy(server, name, "127.0.0.1:0", upstream)}
	require.NoError(tb, p.Start())
	tb.Cleanup(p.Stop)
	return p
}

// toxic adds one; what: its type, stream, name, and attributes as JSON.
func (p *proxy) toxic(kind, stream, attributes string) {
	p.tb.Helper()
	text := fmt.Sprintf(`{"type":%q,"stream":%q,"attributes":%s}`, kind, stream, attributes)
	_, err := p.Toxics.AddToxicJson(strings.NewReader(text))
	require.NoError(p.tb, err)
}

// clean takes all toxics away.
func (p *proxy) clean() { p.Toxics.ResetToxics(context.Background()) }

// cut refuses connections and ends those that are open.
func (p *proxy) cut() { p.Stop() }

// mend takes connections again, at the same address.
func (p *proxy) mend() {
	p.tb.Helper()
	require.NoError(p.tb, p.Start())
}
