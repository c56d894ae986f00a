-- quarantine_resolved: open entries of a page whose identity and content stand in the ledger by now.
-- Params: after, last (ids: of the entries after the one, up to the other). Result: id. Dedup: newest version of an id.
WITH asked AS (SELECT id, account_id, kind, record_id, content_hash FROM {db}.quarantine FINAL
    WHERE id > {after:String} AND id <= {last:String} AND state = 'open' AND record_id != '' AND kind IN ('usage', 'status', 'refund'))
SELECT id FROM asked
WHERE (account_id, kind, record_id, content_hash) IN (
    SELECT account_id, toString(kind), id, content_hash FROM {db}.records
    WHERE (account_id, id) IN (SELECT account_id, record_id FROM asked))
