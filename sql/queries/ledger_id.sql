-- ledger_id: what tells a ledger from others. Result: id, empty if it has none. Dedup: two that first migrated it at
-- once have left two ids; the least counts.
SELECT min(id) FROM {db}.ledger_id
