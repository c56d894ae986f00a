-- quarantine_resolved: open entries whose identity and content stand in the ledger by now.
-- Result: id. Dedup: newest version of an id.
SELECT q.id
FROM (SELECT id, account_id, kind, record_id, content_hash FROM {db}.quarantine FINAL
      WHERE state = 'open' AND record_id != '' AND kind IN ('usage', 'status', 'refund')) AS q
INNER JOIN (
    SELECT account_id, toString(kind) AS kind_name, id, content_hash FROM {db}.records
    WHERE (account_id, id) IN (SELECT account_id, record_id FROM {db}.quarantine FINAL WHERE state = 'open' AND record_id != '')
) AS r ON r.account_id = q.account_id AND r.kind_name = q.kind AND r.id = q.record_id AND r.content_hash = q.content_hash
GROUP BY q.id
