-- migrations: names that were applied.
SELECT DISTINCT name FROM {db}.migrations ORDER BY name
