-- 0009_deliveries: whose schedule a run is of, and its next try.
ALTER TABLE report_runs ADD COLUMN IF NOT EXISTS owner String -- the sub-account whose own schedule it is, else empty
;
ALTER TABLE report_runs ADD COLUMN IF NOT EXISTS round UInt32 -- how often it went back to the queue
;
ALTER TABLE report_runs ADD COLUMN IF NOT EXISTS next_at DateTime64(3, 'UTC') -- when its next round begins
