-- usage_status: usage_rows with each message's latest delivery status, as s.latest_status and s.latest_error.
-- The latest is by (occurred_at, rank, id) among the message's own (where it has one) and its status rows;
-- status rows dated more than slack before the message are none of its. A refund takes its message's.
-- Text and params as usage_rows, and since (ms: of the first message or status that can matter), slack (ms).
-- Result as usage_rows. Dedup: FINAL, the newest epoch of an identity.
SELECT {keys} AS keys, line_currency, records, units_sum, billed_sum, amount_sum, refunds_sum, fees_sum, adjustments_sum
FROM (
    SELECT {columns} r.currency AS line_currency,
        countIf(r.kind = 'usage') AS records,
        sumIf(r.units, r.kind = 'usage') AS units_sum,
        sumIf(r.billed_units, r.kind = 'usage') AS billed_sum,
        sumIf(r.amount, r.kind = 'usage') AS amount_sum,
        sumIf(r.amount, r.kind = 'refund') AS refunds_sum,
        sumIf(r.fee, r.kind = 'usage') AS fees_sum,
        sumIf(r.amount, r.kind = 'adjustment') AS adjustments_sum
    FROM (
        SELECT *, if(kind = 'adjustment', '', id) AS message FROM {db}.records FINAL
        WHERE ({parent:String} = '' OR parent_id = {parent:String})
          AND (empty({accounts:Array(String)}) OR account_id IN {accounts:Array(String)})
          AND kind IN ('usage', 'refund', 'adjustment')
          AND occurred_at >= fromUnixTimestamp64Milli({from:Int64}) AND occurred_at < fromUnixTimestamp64Milli({to:Int64})
          AND ({booked:String} = '' OR booked = {booked:String})
    ) AS r
    LEFT JOIN (
        SELECT account_id, message, if(
                maxIf(sent_at, kind = 'status' AND status != '') + {slack:Int64} >= maxIf(sent_at, kind = 'usage'),
                max((at, rank, id, status, error_code)),
                maxIf((at, rank, id, status, error_code), kind = 'usage')) AS newest,
            tupleElement(newest, 4) AS latest_status, tupleElement(newest, 5) AS latest_error
        FROM (
            SELECT account_id, kind, if(kind = 'usage', id, refers_to) AS message, id, status, error_code,
                toUnixTimestamp64Milli(occurred_at) AS sent_at, if(status = '', 0, sent_at) AS at,
                indexOf(['accepted', 'queued', 'sent', 'undelivered', 'failed', 'delivered', 'read'], status) AS rank
            FROM {db}.records FINAL
            WHERE ({parent:String} = '' OR parent_id = {parent:String})
              AND (empty({accounts:Array(String)}) OR account_id IN {accounts:Array(String)})
              AND kind IN ('usage', 'status') AND occurred_at >= fromUnixTimestamp64Milli({since:Int64})
        )
        GROUP BY account_id, message
    ) AS s ON s.account_id = r.account_id AND s.message = r.message
    GROUP BY {group} line_currency
)
ORDER BY {group} line_currency
