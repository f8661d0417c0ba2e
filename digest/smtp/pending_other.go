//go:build !unix

package smtp

// pending would tell whether there is something to read. Here it doesn't: what the server says out of turn is noticed when the
// next answer is read.
func (w *wire) pending() bool { return false }
