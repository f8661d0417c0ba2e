package inbox

import "time"

// SetWaits chooses how long a keeper that doesn't run leaves things to the node that sequences, acts at once in its place, and goes
// without a look. 0: as usual.
func (i *Inbox) SetWaits(aside, acting, fallback time.Duration) {
	or := func(d, usual time.Duration) time.Duration {
		if d == 0 {
			return usual
		}
		return d
	}
	i.keeper.waits = waits{or(aside, asideWait), or(acting, actingTime), or(fallback, fallbackWait)}
}
