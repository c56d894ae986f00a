-- retention_lines: removes what tells the lines of closed months before one from others. Again is harmless.
-- Params: period (2026-07). Dedup: none needed.
ALTER TABLE {db}.closed_lines DELETE WHERE period < {period:String}
