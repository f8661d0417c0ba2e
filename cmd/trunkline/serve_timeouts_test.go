package main

import (
	"bufio"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// Connections that say nothing, or only half of a request's headers, and those that are kept for another request, are closed.
func TestSilentConnectionsAreClosed(t *testing.T) {
	surroundings, _ := database(t)
	c := start(t, surroundings, "serve", "--listen", "127.0.0.1:0", "--header-timeout", "200ms", "--idle-timeout", "1s")
	base := address(t, c)
	for name, said := range map[string]string{
		"nothing":          "",
		"half of a header": "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ",
		"one request":      "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			if _, err := io.WriteString(conn, said); err != nil {
				t.Fatal(err)
			}
			_ = conn.SetReadDeadline(time.Now().Add(30 * time.Second)) // ends what hangs
			if _, err := io.Copy(io.Discard, bufio.NewReader(conn)); errors.Is(err, io.ErrUnexpectedEOF) || isTimeout(err) {
				t.Errorf("the server kept the connection: %v", err)
			}
		})
	}
	var metrics string
	for range 300 {
		if _, metrics = get(t, base+"/metrics"); strings.Contains(metrics, "trunkline_http_silent_total 2\n") && strings.Contains(metrics, "trunkline_http_idle_total 1\n") {
			return
		}
		time.Sleep(20 * time.Millisecond) // the server counts after it has closed
	}
	t.Errorf("what was closed isn't counted:\n%s", metrics)
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
