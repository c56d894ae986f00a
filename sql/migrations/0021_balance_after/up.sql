-- 0021_balance_after: what a purse held right after a transfer, for its history.
ALTER TABLE transfers ADD COLUMN IF NOT EXISTS balance_after Nullable(Decimal(38, 6)) -- NULL: made before this was kept, or the world outside
