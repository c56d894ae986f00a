-- state_notes: the newest manual suspension of an account, who and why. Params: account.
SELECT actor, note, occurred_at FROM {db}.states WHERE account_id = {account:String} AND cause = 'manual' AND note != ''
ORDER BY epoch DESC LIMIT 1
