-- suspended_since: of some parents' accounts those that a limit had suspended, for effect, at an instant, or has since.
-- Params: parents, at (ms). Result: account_id. Dedup: by account's epoch.
SELECT account_id FROM {db}.states WHERE parent_id IN {parents:Array(String)} GROUP BY account_id
HAVING bitAnd(argMaxIf(flags, epoch, occurred_at < fromUnixTimestamp64Milli({at:Int64})), 15) != 0
    OR countIf(occurred_at >= fromUnixTimestamp64Milli({at:Int64}) AND bitAnd(flags, 15) != 0) > 0
