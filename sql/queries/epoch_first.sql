-- epoch_first: the oldest projection epoch of a partition, 0 before the first. Params: partition.
SELECT min(epoch) FROM {db}.epochs WHERE partition = {partition:UInt16}
