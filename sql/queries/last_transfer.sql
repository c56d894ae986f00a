-- last_transfer: per purse of a parent's accounts, the last top-up or allocation. Params: parent. Dedup: FINAL.
SELECT account_id, count() AS n, max(transferred_at) FROM {db}.transfers FINAL
WHERE parent_id = {parent:String} AND account_id != '' AND amount > 0 AND kind IN ('topup', 'allocate')
GROUP BY account_id
