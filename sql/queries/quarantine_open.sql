-- quarantine_open: entries in a state, oldest first. Params: state ("": any), reason ("": any), id ("": any),
-- parent accounts ([]: any), record ("": any), redacted (1: without refunds and corrections), limit.
-- Dedup: newest version of an id.
SELECT id, reason, account_id, kind, record_id, content_hash, detail, raw, quarantined_at, state, note, version
FROM {db}.quarantine FINAL
WHERE ({state:String} = '' OR state = {state:String})
  AND ({reason:String} = '' OR reason = {reason:String})
  AND ({id:String} = '' OR id = {id:String})
  AND (empty({accounts:Array(String)}) OR account_id IN {accounts:Array(String)})
  AND ({record:String} = '' OR record_id = {record:String})
  AND ({redacted:UInt8} = 0 OR kind NOT IN ('refund', 'adjustment'))
ORDER BY quarantined_at, id
LIMIT {limit:UInt64}
