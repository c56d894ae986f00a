-- epoch_max: the newest projection epoch, 0 before the first; over all partitions.
SELECT max(epoch) FROM {db}.epochs
