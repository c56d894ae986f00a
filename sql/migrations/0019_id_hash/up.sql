-- 0019_id_hash: what identities are looked up by. Any of an account's messages may be
-- among those of any granule, so each lookup read, and unpacked, all ids.

-- id_hash: of account_id and id, as idHash in metering/ledger makes it.
ALTER TABLE records ADD COLUMN IF NOT EXISTS id_hash UInt64 MATERIALIZED sipHash64(concat(account_id, '\0', id)) CODEC(NONE)
;
-- What stands already, in the background: until then it is worked out for each lookup.
ALTER TABLE records MATERIALIZE COLUMN id_hash
