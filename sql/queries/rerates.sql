-- rerates: a re-rating by its reference. Params: ref. Dedup: newest.
SELECT ref, parent_id, account_id, period, plan, reason, actor, booked_at FROM {db}.rerates FINAL WHERE ref = {ref:String}
