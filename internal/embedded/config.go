package embedded

import (
	"encoding/xml"
	"fmt"
	"path/filepath"
)

// engineConfig is the engine's server configuration, what a request can't
// change. It is small: a dozen tables, a handful of readers.
type engineConfig struct {
	XMLName xml.Name `xml:"clickhouse"`

	// MergeTree holds the defaults of every MergeTree table: an insert is on
	// disk when it is acknowledged, for this engine dies with its process.
	MergeTree struct {
		FsyncAfterInsert   int `xml:"fsync_after_insert"`
		FsyncPartDirectory int `xml:"fsync_part_directory"`
		// Wider merges: what comes in a stream is merged fewer times before it is large.
		SelectorBase int `xml:"merge_selector_base"`
		// Below it a merge reads whole rows: a column at a time, out of parts that keep
		// all columns in one file, takes half as long again.
		VerticalRows int `xml:"vertical_merge_algorithm_min_rows_to_activate"`
	} `xml:"merge_tree"`

	// Idle cost: the engine samples metrics every second, its own memory twenty
	// times a second, and keeps up to 10,000 idle threads unless told not to.
	MetricsPeriodSeconds int `xml:"asynchronous_metrics_update_period_s"`
	MemoryPeriodMillis   int `xml:"memory_worker_period_ms"`
	IdleThreadsMax       int `xml:"max_thread_pool_free_size"`

	// A table that had nothing to merge or to mutate, or found no thread free for it,
	// is looked at again after a tenth of a second, then after this much longer each
	// time. Soon at first: a mutation takes as many parts at a time as there are
	// threads, and finds none free between. Rarely in the end: an idle system has a
	// dozen tables (an insert or a merge asks by itself).
	LookFactor string `xml:"background_processing_pool_task_sleep_seconds_when_no_work_multiplier"`
	LookRandom string `xml:"background_processing_pool_task_sleep_seconds_when_no_work_random_part"` // seconds more
	LookMax    string `xml:"background_processing_pool_task_sleep_seconds_when_no_work_max"`

	// Merges and mutations at a time; two keep up with 5 inserts a second.
	MergeThreads int `xml:"background_pool_size"`

	// Memory of all statements and merges together, and of the caches in it.
	MemoryBytesMax         int64 `xml:"max_server_memory_usage"`
	MarkCacheBytes         int64 `xml:"mark_cache_size"`
	PrimaryIndexCacheBytes int64 `xml:"primary_index_cache_size"`
	IndexMarkCacheBytes    int64 `xml:"index_mark_cache_size"`
	ConditionCacheBytes    int64 `xml:"query_condition_cache_size"`
	ExpressionCacheBytes   int64 `xml:"compiled_expression_cache_size"`
}

// engineArgs writes the engine's configuration into dir and returns the
// arguments that start it there.
func engineArgs(dir string, opts Options) ([]string, error) {
	const mebibyte = 1 << 20
	config := engineConfig{
		MetricsPeriodSeconds:   60,
		MemoryPeriodMillis:     500,
		LookFactor:             "1.5",
		LookRandom:             "0.1",
		LookMax:                "60",
		IdleThreadsMax:         8,
		MergeThreads:           2,
		MemoryBytesMax:         2 * opts.MaxMemoryBytes,
		MarkCacheBytes:         64 * mebibyte,
		PrimaryIndexCacheBytes: 64 * mebibyte,
		IndexMarkCacheBytes:    16 * mebibyte,
		ConditionCacheBytes:    16 * mebibyte,
		ExpressionCacheBytes:   16 * mebibyte,
	}
	config.MergeTree.FsyncAfterInsert = 1
	config.MergeTree.FsyncPartDirectory = 1
	config.MergeTree.SelectorBase = 12
	config.MergeTree.VerticalRows = 5_000_000
	data, err := xml.MarshalIndent(config, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write the engine's configuration: %w", err)
	}
	path := filepath.Join(dir, "config.xml")
	if err := writeFile(path, append(data, '\n')); err != nil {
		return nil, err
	}
	return []string{"meterd", "--path=" + dir, "--config-file=" + path}, nil
}
