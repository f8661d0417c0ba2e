package server

import (
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline/internal/localpg"
	"github.com/trunkline/trunkline/internal/pgtest"
)

// freeze stops all of a cluster's processes, as a machine that hangs would, until the test ends.
func freeze(t *testing.T, cluster *localpg.Server) {
	t.Helper()
	conn := pgtest.Connect(t, cluster.URL())
	stopped := func(pid int) {
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGCONT) })
	}
	stopped(cluster.PID()) // from here on there are no new ones
	rows, err := conn.Query(t.Context(), "SELECT pid FROM pg_stat_activity")
	if err != nil {
		t.Fatal(err)
	}
	pids, err := pgx.CollectRows(rows, pgx.RowTo[int])
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		stopped(pid)
	}
}

func TestADatabaseThatHangsIsAnswered(t *testing.T) {
	cluster := pgtest.Cluster(t, nil)
	s := serve(t, cluster.URL(), Options{Open: true})
	s.publish(t, "room:1", "1")
	s.sequenced(t, "room:1", 1)
	s.handler.answerTime = 200 * time.Millisecond
	freeze(t, cluster)

	for _, test := range []struct {
		name, method, path, body, key, says string
	}{
		{"publish", http.MethodPost, "/v1/publish", `{"channel":"room:1","payload":2}`, "", "unknown; look at the history"},
		{"publish with a key", http.MethodPost, "/v1/publish", `{"channel":"room:1","payload":3}`, "k", "unknown; repeat it with the same Idempotency-Key"},
		{"publish many", http.MethodPost, "/v1/publish", `{"messages":[{"channel":"room:1","payload":4,"key":"a"}]}`, "", "unknown; repeat it with the same"},
		{"history", http.MethodGet, "/v1/history?channel=room:1", "", "", "try again"},
		{"channel", http.MethodGet, "/v1/channel?channel=room:1", "", "", "try again"},
		{"channels", http.MethodGet, "/v1/channels", "", "", "try again"},
		{"namespaces", http.MethodGet, "/v1/namespaces", "", "", "try again"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var header []string
			if test.key != "" {
				header = append(header, "Idempotency-Key: "+test.key)
			}
			a := s.ask(t, test.method, test.path, test.body, header...)
			p := a.problem(t)
			if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" ||
				!strings.Contains(p.Detail, "the database didn't answer within 200ms: ") || !strings.Contains(p.Detail, test.says) {
				t.Errorf("status %d, Retry-After %q: %s", a.status, a.header.Get("Retry-After"), p.Detail)
			}
		})
	}
}
