-- 0013_alert_marks: what a rebuild needs so that no alert comes again, and none stays out.
ALTER TABLE transfers ADD COLUMN IF NOT EXISTS base Decimal(38, 6) -- what a purse held right after, where its alerts start anew
