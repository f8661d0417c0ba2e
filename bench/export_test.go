package bench

import "testing"

// CatchUpLess makes the suite catchup a matter of seconds under the race detector.
func CatchUpLess(t *testing.T) {
	usual, crowd := missed, together
	missed, together = 2000, 50
	t.Cleanup(func() { missed, together = usual, crowd })
}
