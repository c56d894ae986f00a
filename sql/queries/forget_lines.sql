-- forget_lines: blanks the bytes of quarantine entries of before an instant that aren't open. Again is harmless.
-- Params: before (ms). Dedup: none needed, of every version of an entry.
ALTER TABLE {db}.quarantine UPDATE raw = ''
WHERE quarantined_at < fromUnixTimestamp64Milli({before:Int64}) AND state != 'open'
SETTINGS mutations_sync = 1
