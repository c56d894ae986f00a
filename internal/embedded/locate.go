package embedded

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

// LibraryVersion is the version of the ClickHouse library that `make setup`
// fetches and that this package was tested with.
const LibraryVersion = "26.7.3-stable.1"

// findLibrary tells where the ClickHouse library is: METERD_CHDB_LIB, or the
// cache folder that `make setup` fills.
func findLibrary() (string, error) {
	if path := os.Getenv("METERD_CHDB_LIB"); path != "" {
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("METERD_CHDB_LIB: %w: let it name the ClickHouse library, or unset it for the one of `make setup`", err)
		}
		return path, nil
	}
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	pkg, err := libraryPackage()
	if err != nil {
		return "", err
	}
	path := filepath.Join(cache, "meterd", LibraryVersion, "node_modules", "@chdb", pkg, "libchdb.so")
	if _, err := os.Stat(path); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return "", fmt.Errorf("the ClickHouse engine is not set up: %s is missing; run `make setup`, or set METERD_CHDB_LIB", path)
		}
		return "", fmt.Errorf("find the ClickHouse engine: %w", err)
	}
	return path, nil
}

// cacheDir is where `make setup` keeps what it fetches, on every platform.
func cacheDir() (string, error) {
	if dir := os.Getenv("XDG_CACHE_HOME"); dir != "" {
		return dir, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find the ClickHouse engine: %w (set METERD_CHDB_LIB)", err)
	}
	return filepath.Join(home, ".cache"), nil
}

func libraryPackage() (string, error) {
	switch runtime.GOOS + "/" + runtime.GOARCH {
	case "linux/amd64":
		return "lib-linux-x64-gnu", nil
	case "linux/arm64":
		return "lib-linux-arm64-gnu", nil
	case "darwin/arm64":
		return "lib-darwin-arm64", nil
	case "darwin/amd64":
		return "lib-darwin-x64", nil
	}
	return "", fmt.Errorf("no ClickHouse engine to embed on %s/%s: use real servers (--clickhouse, --redis)", runtime.GOOS, runtime.GOARCH)
}
