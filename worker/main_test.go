package worker

import (
	"testing"

	"github.com/meterd/meterd/internal/testengine"
)

func TestMain(m *testing.M) { testengine.Main(m) }
