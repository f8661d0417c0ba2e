package server

import (
	"encoding/json"
	"net/http"
	"time"
)

// health is what /healthz says.
type health struct {
	Status     string       `json:"status"` // ok, or starting
	Epoch      string       `json:"epoch,omitempty"`
	Position   int64        `json:"position"`
	Sequencing bool         `json:"sequencing"` // whether this node writes the log
	Listen     healthListen `json:"listen"`
	Streams    int64        `json:"streams"`
}

type healthListen struct {
	Up    bool      `json:"up"`
	Since time.Time `json:"since"`
}

// health answers whether this process does its work. One that has lost its database goes on with 200: restarting it would
// mend nothing; listen.up tells.
func (h *handler) health(w http.ResponseWriter, r *http.Request) {
	if !allow(w, r, "GET, HEAD", http.MethodGet, http.MethodHead) {
		return
	}
	state := h.engine.State()
	answer := health{
		Status: "ok", Epoch: state.Log.Epoch, Position: state.Log.Position, Sequencing: state.Sequencing,
		Listen:  healthListen{Up: state.Listen.Up, Since: state.Listen.Since.UTC()},
		Streams: h.streams.Load(),
	}
	code := http.StatusOK
	if state.Log.IsZero() {
		answer.Status, code = "starting", http.StatusServiceUnavailable
	}
	body, err := json.Marshal(answer)
	if err != nil {
		h.log.Error("the health answer can't be written", "error", err)
		problemf(w, http.StatusInternalServerError, "the answer can't be written")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_, _ = w.Write(append(body, '\n')) // to a client that went away there is nothing to say
}
