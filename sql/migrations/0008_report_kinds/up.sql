-- 0008_report_kinds: what kind of report a run is: statement, messages or wallet.
ALTER TABLE report_runs ADD COLUMN IF NOT EXISTS kind LowCardinality(String) DEFAULT 'statement'
