package main_test

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/meterd/meterd/internal/testengine"
)

// side is how many faults are tried at once: they mostly wait.
const side = "6"

func TestMain(m *testing.M) {
	if text := os.Getenv(workerEnv); text != "" {
		if err := serve(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	flag.Parse()
	if err := flag.Set("test.parallel", side); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	testengine.Main(m)
}
