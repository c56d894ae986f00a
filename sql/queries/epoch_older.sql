-- epoch_older: the newest projection epoch that may have charged a parent of a partition, 0 before the
-- first: the partition's own, or any of another number of partitions. Params: partition, partitions.
SELECT max(epoch) FROM {db}.epochs WHERE partition = {partition:UInt16} OR partitions != {partitions:UInt16}
