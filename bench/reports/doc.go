// Package reports measures whether scheduled reports come on time: many
// parents due at the same minute, with servers that refuse or are down.
package reports
