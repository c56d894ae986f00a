package pipeline

import "errors"

// ErrLater puts a task back: something that it waits for hasn't come. It is no
// failure.
var ErrLater = errors.New("not yet: the task waits for others to settle")

// errLanding puts a task back that reads what messages stand at: what an older
// epoch has charged about one of them may not have landed yet. It comes within
// metering.LandMax of the new epoch.
var errLanding = errors.New("not yet: a charge of before Redis was rebuilt may still be on its way to ClickHouse, for six minutes at most")
