-- epoch_older: the newest projection epoch that may have charged a parent of a partition, 0 before the
-- first: the partition's own, or any of another number of partitions. Params: partition, partitions.
-- Result: epoch, whether the number was another.
SELECT max(epoch), argMax(partitions != {partitions:UInt16}, epoch)::Bool FROM {db}.epochs
WHERE partition = {partition:UInt16} OR partitions != {partitions:UInt16}
