// Package prometheus holds the alerts for who watches meterd. Its test does what
// `promtool check rules` and `promtool test rules` do to these files, with Prometheus's
// own parser and engine: promtool itself takes minutes to build, for it brings along
// every cloud that Prometheus finds targets in. It is a module of its own, so that the
// product's has none of it.
package prometheus
