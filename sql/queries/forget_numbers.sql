-- forget_numbers: blanks senders and receivers of rows before an instant. What identifies a message and its content stays. Again is harmless.
-- Params: before (ms). Dedup: none needed, of every row.
ALTER TABLE {db}.records UPDATE recipient = '', sender = ''
WHERE occurred_at < fromUnixTimestamp64Milli({before:Int64}) AND (recipient != '' OR sender != '')
SETTINGS mutations_sync = 1
