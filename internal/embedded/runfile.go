package embedded

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// RunInfo is what DIR/run.json holds while a system runs: where its parts
// listen, and the secrets that they ask for.
type RunInfo struct {
	PID                int    `json:"pid"`
	Redis              string `json:"redis"` // host:port
	RedisPassword      string `json:"redis_password"`
	ClickHouse         string `json:"clickhouse"` // URL
	ClickHousePassword string `json:"clickhouse_password"`
	Database           string `json:"database"`
	HTTP               string `json:"http"` // URL of health checks and metrics
}

// RunFile is the path of the run file of a data folder.
func RunFile(dir string) string { return filepath.Join(dir, "run.json") }

// WriteRunFile writes DIR/run.json, mode 0600, as a whole or not at all.
func WriteRunFile(dir string, info RunInfo) error {
	data, err := json.MarshalIndent(info, "", "  ")
	if err != nil {
		return fmt.Errorf("write the run file: %w", err)
	}
	return writeFile(RunFile(dir), append(data, '\n'))
}

// ReadRunFile reads DIR/run.json. It returns ErrNotRunning where there is none
// or where the process that wrote it is gone, and ErrIsBackup of a backup.
func ReadRunFile(dir string) (RunInfo, error) {
	if err := noBackup(dir); err != nil {
		return RunInfo{}, err
	}
	data, err := os.ReadFile(RunFile(dir))
	if errors.Is(err, os.ErrNotExist) {
		return RunInfo{}, fmt.Errorf("%s: %w", dir, ErrNotRunning)
	}
	if err != nil {
		return RunInfo{}, fmt.Errorf("read the run file: %w", err)
	}
	// The writer holds the folder's lock for as long as it lives. That can't
	// be mistaken as a process id can, which another process may have by now.
	held, err := folderHeld(dir)
	if err != nil {
		return RunInfo{}, err
	}
	if !held {
		return RunInfo{}, fmt.Errorf("%s: %w", dir, ErrNotRunning)
	}
	var info RunInfo
	if err := json.Unmarshal(data, &info); err != nil {
		return RunInfo{}, fmt.Errorf("read %s: %w (remove it once no meterd runs there)", RunFile(dir), err)
	}
	return info, nil
}

func removeRunFile(dir string) error {
	if err := os.Remove(RunFile(dir)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the run file: %w", err)
	}
	return nil
}

// writeFile replaces path by data, mode 0600, atomically.
func writeFile(path string, data []byte) error {
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // made with mode 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = file.Write(data)
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		_ = os.Remove(file.Name())
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
