package bodies

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestABufferIsEmptyAndOnesOwn, whoever had it before, and however large it grew.
func TestABufferIsEmptyAndOnesOwn(t *testing.T) {
	t.Parallel()
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for n := range 100 {
				b := Get()
				assert.Zero(t, b.Len())
				b.WriteByte(byte(i))
				if i == 0 && n%50 == 0 {
					b.Grow(keptMax + 1)
				}
				assert.Equal(t, []byte{byte(i)}, b.Bytes())
				Put(b)
			}
		})
	}
	all.Wait()
}
