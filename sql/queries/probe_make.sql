-- probe_make: a table that is written to find out whether one can be. Text: {probe} its name.
CREATE TABLE {db}.{probe} (at DateTime64(3, 'UTC')) ENGINE = MergeTree ORDER BY at
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
