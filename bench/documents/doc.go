// Package documents runs what the documents print: every command, query and program,
// in order, against a real system, and compares what it says with what stands there.
//
// A document is read as a person does. A shell block is run, a file block is written
// to the file that the sentence before it names, and a block without a language
// right after a shell block is what that must say. In it an ellipsis stands for
// anything, and what differs from run to run (times, dates, digests) isn't compared.
// What can't be run as it is printed (an id that is another each time) is an edit in
// the test, and what needs other machines is named there with who tries it.
//
// TestNight causes what the runbook tells of and follows it out again; TestBackupOfServers
// loses a ledger and restores it.
package documents
