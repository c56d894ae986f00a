-- disks: room on the disks of ClickHouse. Result: path, free and total bytes. Dedup: none.
SELECT path, free_space, total_space FROM system.disks WHERE total_space > 0 ORDER BY path
