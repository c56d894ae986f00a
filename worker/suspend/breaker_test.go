package suspend

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestBreakerBound(t *testing.T) {
	t.Parallel()
	for _, c := range [][4]int{{0, 0, 50, 0}, {7, 0, 50, 7}, {0, 10, 50, 5}, {7, 10, 50, 5}, {3, 10, 50, 3}, {0, 1, 5, 1}} {
		assert.Equal(t, c[3], Brakes{c[0], c[1]}.most(c[2]), c)
	}
}
