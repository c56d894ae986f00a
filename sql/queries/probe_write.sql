-- probe_write: a row of it, on disk when this returns. Text: {probe}.
INSERT INTO {db}.{probe} SELECT now64(3, 'UTC')
