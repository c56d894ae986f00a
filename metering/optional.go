package metering

// Optional is a value that may be absent. Its zero value is: an absent one is never
// taken for 0.
type Optional[T any] struct {
	value T
	is    bool
}

// Some is a value that is there.
func Some[T any](v T) Optional[T] { return Optional[T]{value: v, is: true} }

// Get returns the value, and whether it is there.
func (o Optional[T]) Get() (T, bool) { return o.value, o.is }

// Or is the value, or another one where it is absent.
func (o Optional[T]) Or(other T) T {
	if o.is {
		return o.value
	}
	return other
}

// Is tells whether there is a value.
func (o Optional[T]) Is() bool { return o.is }
