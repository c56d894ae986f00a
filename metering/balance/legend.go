package balance

// The keys of a partition and the fields of their hashes, as keys.go names them; every
// key of partition NN begins with {pNN}. Amounts are micro-units, times milliseconds by
// Redis's clock. A test holds this legend against the scripts.
//
//	{pNN}:meta, of the projection:
//	  epoch     of the projection: rises with each rebuild
//	  seq       of the newest charge or transfer
//	  catalog   number of accounts and plans: a caller with a lower one is refused
//	  floor     what occurred before this time is cold
//	  replid    of the Redis that it was made or adopted in; "": an account was lost, all is refused
//	  gen       newest generation of dedup that was written
//	  genseq    first seq of that
//	  forced    seq of the newest charge by force
//	  window    of dedup
//	  buckets   of dedup, in a generation
//	  key       of the hashes of identities, hex
//	  openn     records that are charged and not yet stored
//	  corr      number of corrections: reversals and heals
//	  brk       since when the breaker is open; "": it is closed
//	  brkmax    how many accounts may be suspended within a minute
//	  born      when the epoch began
//	  parts     number of partitions that it was made for
//	  landing   until when rows of an older epoch may land; 0: they can't
//	  ledger    that it was made from
//	  lost      an account that it has lost: it is to be made anew
//	  pushed    epoch in which all states have been judged
//
//	{pNN}:a:<account>:
//	  par       its parent; "": it is one
//	  mode      a parent's: prepaid, postpaid
//	  src       a sub-account's: allocated, shared, credit
//	  lim       monthly limit; "": none
//	  ceil      a postpaid parent's credit limit; "": none
//	  alerts    a parent's: rising shares, percent, ","-joined
//	  obs       "1": nobody of the parent's is suspended by itself
//	  ch        channels, ","-joined; "*": all
//	  pr        channels that its plan prices, as ch
//	  closed    "1": it is
//	  cat       catalog number of these fields, which push.lua writes
//	  bal       balance of its wallet or budget
//	  u:<month>  use of a month; a parent's with that of its sub-accounts
//	  f         flags in effect (metering.Flags)
//	  h         flags that hold without effect: observed, or held back by the breaker
//	  n         counter of its changes of state: part of its epoch
//	  fp        month in which f was judged
//	  fe        end of that month: then the gate no longer honours flags of months
//	  at        when its state changed
//	  quiet     "1": suspended since birth, untold. After a rebuild told once more: "2" if it isn't active, "3" however it is. "0": told
//	  thr       a parent's: newest month that takes no more records
//	  tn        number of top-ups or allocations
//	  base      what the purse held right after the newest of them, and what other transfers have moved since: alerts are shares of it
//	  as        highest share of the purse that was alerted, as "tn:share"
//	  ac        of the credit limit, as "month:share"
//	  am        of the monthly limit, as "month:share"
//	  calm      two doubles and the mark under which they hold: while use is below the one and balance above the other nothing happens to the account; "": it is judged each time
//
//	{pNN}:t:<task>, the answer to a task's charge:
//	  k         "o" open, "m" a marker: its rows are stored
//	  s         seq
//	  o         outcome of each line, a byte
//	  g         booked month of each group, ","-joined
//	  r         rated columns of what is charged (worker/pipeline/answer.go)
//	  c         records that it charged
//	  at        when it was last asked for
//	  j         "1": a judge task has counted its duplicates
//
//	{pNN}:r:<reference>, a transfer:
//	  hash      of its content
//	  seq       its own
//	  booked    month that it is booked in
//	  at        when it was made
//	  amount    that moved
//	  epoch     of the projection that made it
//	  base      what the receiving purse held right after, where its alerts begin anew
//	  from_after, to_after  what the purses held right after
//
//	{pNN}:hook:<whose>, what a hook or address knows:
//	  epoch     the newest that it was told
//	  told      what
//	  tries     that failed since
//	  row       an outcome that isn't in the ledger yet
//
//	{pNN}:run:<run>, counts of a run's lines, for whoever waits for it:
//	  stored, duplicates, quarantined, waiting
//	  quarantined:<reason>
//
//	{pNN}:open         sorted set: tasks whose answers are open, by seq
//	{pNN}:lifted       hash: accounts that a limit had suspended when the breaker opened, lifted since
//	{pNN}:outbox       stream of facts
//	{pNN}:lease:<name> token of whoever holds it
//	{pNN}:d:<gen>:<bucket>  set of hashes of identities
//	{pNN}:ch:<epoch>:<span> hash: messages that were refunded or corrected, and the seq
//	{pNN}:done:<day>:<n>    hash: tasks that are done, "d", or "h" with duplicates handed over
//	{pNN}:brk:<minute> set: accounts that were suspended in it
