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

// health answers that this process is alive, which it is as long as it answers: to start it anew because its database is away
// would cure nothing, and cost its clients their connections. Whether it does its work is for /readyz to say.
func (s *Server) health(w http.ResponseWriter, r *http.Request) {
	if !allow(w, r, "GET, HEAD", http.MethodGet, http.MethodHead) {
		return
	}
	state := s.engine.State()
	answer := health{
		Status: "ok", Epoch: state.Log.Epoch, Position: state.Log.Position, Sequencing: state.Sequencing,
		Listen:  healthListen{Up: state.Listen.Up, Since: state.Listen.Since.UTC()},
		Streams: s.streams.Load(),
	}
	if state.Log.IsZero() {
		answer.Status = "starting"
	}
	s.answer(w, http.StatusOK, answer)
}

// answer writes JSON that is true at this moment only.
func (s *Server) answer(w http.ResponseWriter, code int, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		s.log.Error("an answer can't be written", "error", err)
		problemf(w, http.StatusInternalServerError, "the answer can't be written")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_, _ = w.Write(append(body, '\n')) // to a client that went away there is nothing to say
}
