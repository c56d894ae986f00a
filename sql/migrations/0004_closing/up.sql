-- 0004_closing: what a closed month fixes, so that it never changes.
ALTER TABLE closings
    ADD COLUMN IF NOT EXISTS starts_at DateTime64(3, 'UTC'), -- the month's bounds, as they were
    ADD COLUMN IF NOT EXISTS ends_at DateTime64(3, 'UTC'),
    ADD COLUMN IF NOT EXISTS lines UInt64,                   -- that the digest covers
    ADD COLUMN IF NOT EXISTS catalog UInt64,                 -- accounts as they stood
    ADD COLUMN IF NOT EXISTS epoch UInt32,                   -- rows up to this epoch and seq are the month's
    ADD COLUMN IF NOT EXISTS seq UInt64,
    ADD COLUMN IF NOT EXISTS balances String,                -- JSON: account → micro-units that its purse held at the end
    ADD COLUMN IF NOT EXISTS frozen String                   -- JSON: counts and states that reports show
