package main

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Connections that say nothing, or only half of a request's headers, and those that are kept for another request, are closed.
func TestSilentConnectionsAreClosed(t *testing.T) {
	surroundings, _ := database(t)
	c := start(t, surroundings, "serve", "--listen", "127.0.0.1:0", "--header-timeout", "2s", "--idle-timeout", "2s")
	base := address(t, c)
	t.Run("connections", func(t *testing.T) { closesSilent(t, strings.TrimPrefix(base, "http://")) })
	var metrics string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) { // the server counts after it has closed
		// More may be counted: this test asks over connections of its own, which are kept, and closed, too, or closed before they are heard.
		code, body, err := tryGet(t, base+"/metrics")
		if err != nil || code != http.StatusOK {
			continue
		}
		if metrics = body; counter(t, metrics, "trunkline_http_silent_total") >= 2 && counter(t, metrics, "trunkline_http_idle_total") >= 1 {
			return
		}
	}
	t.Errorf("what was closed isn't counted:\n%s", metrics)
}

// closesSilent returns when the server has closed three connections that say too little, or nothing more.
func closesSilent(t *testing.T, server string) {
	for name, said := range map[string]string{
		"nothing":          "",
		"half of a header": "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ",
		"one request":      "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// A request that comes too late is none: then another connection makes it.
			for deadline := time.Now().Add(patience); ; {
				answer := untilClosed(t, server, said)
				if name != "one request" || strings.Contains(answer, " 200 OK") {
					return
				}
				if time.Now().After(deadline) {
					t.Fatalf("the request is answered with %q", answer)
				}
			}
		})
	}
}

// untilClosed says something on a connection, and returns what was answered by the time that the server has closed it.
func untilClosed(t *testing.T, server, said string) string {
	t.Helper()
	conn, err := net.Dial("tcp", server)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(patience)) // ends what hangs
	_, _ = io.WriteString(conn, said)              // the server may have closed it already
	answer, err := io.ReadAll(conn)
	if isTimeout(err) {
		t.Errorf("the server kept the connection: %v", err)
	}
	return string(answer)
}

// counter reads one of the server's metrics.
func counter(t *testing.T, metrics, name string) int {
	t.Helper()
	for line := range strings.Lines(metrics) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			n, err := strconv.Atoi(strings.TrimSpace(value))
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			return n
		}
	}
	t.Fatalf("%s isn't among the metrics", name)
	return 0
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

func TestTimeoutsThatCannotBe(t *testing.T) {
	t.Parallel()
	for flag, values := range map[string][]string{
		"--header-timeout": {"0s", "-1s", "1h"}, "--idle-timeout": {"1ms", "2h"}, "--write-timeout": {"0s", "1h"},
	} {
		for _, value := range values {
			refused := (&timeoutFlags{HeaderTimeout: time.Second, IdleTimeout: time.Second, WriteTimeout: time.Second}).with(flag, value).check()
			if refused == nil || !strings.Contains(refused.Error(), flag) {
				t.Errorf("%s %s: %v", flag, value, refused)
			}
		}
	}
}

func (f *timeoutFlags) with(flag, value string) *timeoutFlags {
	d, err := time.ParseDuration(value)
	if err != nil {
		panic(err)
	}
	switch flag {
	case "--header-timeout":
		f.HeaderTimeout = d
	case "--idle-timeout":
		f.IdleTimeout = d
	case "--write-timeout":
		f.WriteTimeout = d
	}
	return f
}
