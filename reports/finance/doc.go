// Package finance writes what a finance department pulls: the lines of parents'
// bills, summed, as CSV, JSON Lines or Parquet; and the same as FOCUS, the FinOps
// Open Cost and Usage Specification. It is for operators and parents: nothing in
// it is made for a sub-account.
//
// A line is in the month that it is booked in, so that a month's lines sum to
// its bill; a closed month's file keeps its bytes.
//
// It is a part of meterd, and no stable interface.
package finance
