// Package render turns a document, a neutral form of title, facts, charts and
// tables, into a page or a workbook, and lines into CSV. It knows nothing of
// accounts or money: what isn't in the document can't get out. All its output
// is the same for the same document, byte by byte; a PDF, where fonts are the same.
//
// It is a part of meterd, and no stable interface.
package render
