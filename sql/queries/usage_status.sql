-- usage_status: usage_rows with each message's latest delivery status, as r.latest_status and r.latest_error.
-- The latest is by (occurred_at, rank, id) among the message's own (where it has one) and its status rows;
-- status rows dated more than slack before the message are none of its. A refund takes its message's.
-- Text and params as usage_rows, and since (ms: of the first message or status that can matter), slack (ms).
-- Result as usage_rows. Dedup: FINAL, the newest epoch of an identity.
WITH {ranks} AS ranks
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
        SELECT l.* EXCEPT (status, error_code),
            if(l.kind = 'usage', toUnixTimestamp64Milli(l.occurred_at), m.sent_at) AS own_at,
            if(l.kind = 'usage', l.status, m.sent_status) AS own_status,
            if(l.kind = 'usage', l.error_code, m.sent_error) AS own_error,
            s.new_at > 0 AND s.new_at + {slack:Int64} >= own_at
                AND (own_status = '' OR (s.new_at, s.new_rank, s.new_id) > (own_at, indexOf(ranks, own_status), l.message)) AS later,
            if(later, s.new_status, own_status) AS latest_status, if(later, s.new_error, own_error) AS latest_error
        FROM (
            SELECT *, if(kind = 'adjustment', '', id) AS message FROM {db}.records FINAL
            WHERE ({parent:String} = '' OR parent_id = {parent:String})
              AND (empty({accounts:Array(String)}) OR account_id IN {accounts:Array(String)})
              AND kind IN ('usage', 'refund', 'adjustment')
              AND occurred_at >= fromUnixTimestamp64Milli({from:Int64}) AND occurred_at < fromUnixTimestamp64Milli({to:Int64})
              AND ({booked:String} = '' OR booked = {booked:String})
        ) AS l
        LEFT JOIN ( -- the status rows of a message
            SELECT account_id AS of_account, refers_to AS of_message, max((toUnixTimestamp64Milli(occurred_at), indexOf(ranks, status), id, status, error_code)) AS newest,
                tupleElement(newest, 1) AS new_at, tupleElement(newest, 2) AS new_rank, tupleElement(newest, 3) AS new_id,
                tupleElement(newest, 4) AS new_status, tupleElement(newest, 5) AS new_error
            FROM {db}.records FINAL
            WHERE ({parent:String} = '' OR parent_id = {parent:String})
              AND (empty({accounts:Array(String)}) OR account_id IN {accounts:Array(String)})
              AND kind = 'status' AND status != '' AND occurred_at >= fromUnixTimestamp64Milli({since:Int64})
            GROUP BY account_id, refers_to
        ) AS s ON s.of_account = l.account_id AND s.of_message = l.message
        LEFT JOIN ( -- the messages of refunds
            SELECT account_id AS sent_account, id AS sent_id, toUnixTimestamp64Milli(occurred_at) AS sent_at, status AS sent_status, error_code AS sent_error
            FROM {db}.records FINAL
            WHERE ({parent:String} = '' OR parent_id = {parent:String})
              AND (empty({accounts:Array(String)}) OR account_id IN {accounts:Array(String)})
              AND kind = 'usage' AND occurred_at >= fromUnixTimestamp64Milli({since:Int64})
              AND (account_id, id) IN (
                SELECT account_id, id FROM {db}.records
                WHERE ({parent:String} = '' OR parent_id = {parent:String})
                  AND (empty({accounts:Array(String)}) OR account_id IN {accounts:Array(String)})
                  AND kind = 'refund'
                  AND occurred_at >= fromUnixTimestamp64Milli({from:Int64}) AND occurred_at < fromUnixTimestamp64Milli({to:Int64}))
        ) AS m ON m.sent_account = l.account_id AND m.sent_id = l.message
    ) AS r
    GROUP BY {group} line_currency
)
ORDER BY {group} line_currency
