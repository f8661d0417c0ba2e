package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// listenGrace is how long the LISTEN connection may be down before that counts: a restart of the database takes less.
const listenGrace = 5 * time.Second

// health is what /healthz says.
type health struct {
	Status     string       `json:"status"` // ok, starting, or degraded
	Reason     string       `json:"reason,omitempty"`
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

// health answers whether this process does its work: 200, or 503 with the reason. One that has lost its database for
// longer than a restart takes does not, although it goes on trying.
func (h *Server) health(w http.ResponseWriter, r *http.Request) {
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
	switch down := time.Since(state.Listen.Since); {
	case state.Log.IsZero():
		answer.Status, code = "starting", http.StatusServiceUnavailable
		answer.Reason = "the engine has not started"
	case !state.Listen.Up && down > listenGrace:
		answer.Status, code = "degraded", http.StatusServiceUnavailable
		answer.Reason = fmt.Sprintf("the connection that listens to the database has been down for %s", down.Round(time.Second))
		if state.Listen.Err != nil {
			answer.Reason += ": " + state.Listen.Err.Error()
		}
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
