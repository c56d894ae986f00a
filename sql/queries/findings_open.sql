-- findings_open: how many findings of some kinds nobody has looked at. Params: kinds. Result: kind, count.
-- Dedup: as findings.
SELECT kind, uniqExact({finding} AS id) FROM {db}.findings
WHERE kind IN {kinds:Array(String)} AND id NOT IN (SELECT id FROM {db}.finding_acks)
GROUP BY kind ORDER BY kind
