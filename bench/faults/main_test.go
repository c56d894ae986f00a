package main_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"github.com/meterd/meterd/internal/testengine"
)

// side is how many faults are tried at once: they mostly wait.
const side = "4"

// quiet drops what the Redis client says of connections that the tests cut.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

func TestMain(m *testing.M) {
	if text := os.Getenv(workerEnv); text != "" {
		if err := serve(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	zerolog.SetGlobalLevel(zerolog.Disabled) // of the proxies
	redis.SetLogger(quiet{})
	flag.Parse()
	if err := flag.Set("test.parallel", side); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	testengine.Main(m)
}
