// Package typeset sets texts of any script for the PDF: it finds a font for each letter,
// puts what is written from right to left in its order, and joins and stacks letters as
// their scripts do. What it returns is drawn by its caller, as outlines. It decides
// neither where a text stands nor where it breaks.
//
// It is a part of meterd, and no stable interface.
package typeset
