-- transfer_refs: references of some parents, for a rebuild. Params: parents, since (ms): none that was made earlier.
-- Dedup: FINAL.
-- Result: ref, content_hash, booked, transferred_at, amount, epoch, seq, base. The amount is the transfer's own, with its
-- sign: that of its second line (metering.Transfer.Lines).
SELECT ref, any(content_hash), any(booked), any(transferred_at), sumIf(amount, line = 1), max(epoch), max(seq), sum(base)
FROM {db}.transfers FINAL WHERE parent_id IN {parents:Array(String)} AND transferred_at >= fromUnixTimestamp64Milli({since:Int64}) GROUP BY ref
