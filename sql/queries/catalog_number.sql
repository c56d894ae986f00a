-- catalog_number: the newest catalog number, 0 before the first apply.
SELECT max(number) FROM {db}.catalog
