-- probe_drop: undoes probe_make. Text: {probe}.
DROP TABLE IF EXISTS {db}.{probe} SYNC
