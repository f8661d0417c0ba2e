package server

import (
	"io"
	"net/http"
	"time"
)

// A timedBody is a request's body that has to arrive in time: who sends half of one and falls silent would otherwise keep the
// connection for as long as they like. The deadline is lifted with its end, for what lasts longer, such as streams.
type timedBody struct {
	io.ReadCloser
	control *http.ResponseController
}

func timed(w http.ResponseWriter, body io.ReadCloser) *timedBody {
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(bodyTime)) // in a test there may be no connection
	return &timedBody{body, control}
}

func (b *timedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		_ = b.control.SetReadDeadline(time.Time{})
	}
	return n, err
}
