-- probes_left: probe tables of who was killed. Params: database, prefix, before (s). Result: name. Dedup: none.
SELECT name FROM system.tables
WHERE database = {database:String} AND startsWith(name, {prefix:String}) AND metadata_modification_time < toDateTime({before:Int64}, 'UTC')
