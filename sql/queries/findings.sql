-- findings: what should never be, the newest first, with who has looked at it.
-- Params: id (""; any that begin so), kind ("": any), acked (1: those that were looked at too), limit.
-- Result: id, found_at, kind, account_id, field, expected, actual, healed, acked_at (1970: nobody has), actor, note.
-- Dedup: one row of an id, however often it was found; its newest acknowledgement.
SELECT f.id, f.first_found, f.of_kind, f.of_account, f.of_field, f.should, f.was, f.mended, a.acked_at, a.actor, a.note
FROM (
    SELECT {finding} AS id, min(found_at) AS first_found, any(kind) AS of_kind, any(account_id) AS of_account, any(field) AS of_field,
        any(expected) AS should, any(actual) AS was, max(healed) AS mended
    FROM {db}.findings
    WHERE {kind:String} = '' OR kind = {kind:String}
    GROUP BY id
) AS f
LEFT JOIN (SELECT id, acked_at, actor, note FROM {db}.finding_acks FINAL) AS a ON a.id = f.id
WHERE startsWith(f.id, {id:String}) AND ({acked:UInt8} = 1 OR a.acked_at = 0)
ORDER BY f.first_found DESC, f.id LIMIT {limit:UInt64}
