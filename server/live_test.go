package server

import (
	"bufio"
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// sse opens the Centrifuge protocol's stream of server-sent events, and returns it once the client is connected.
func (s *service) sse(t *testing.T, header http.Header) *bufio.Reader {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	target := s.server.URL + "/connection/sse?cf_connect=" + url.QueryEscape(`{"id":1,"connect":{}}`)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header = header
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	lines := bufio.NewReader(response.Body)
	for line := ""; !strings.HasPrefix(line, `data: {"id":1,"connect"`); {
		if line, err = lines.ReadString('\n'); err != nil {
			t.Fatalf("status %d: %v", response.StatusCode, err)
		}
	}
	return lines
}

// A program that shuts its http.Server down needn't know of clients whose requests don't end by themselves.
func TestShutdownEndsEmulatedClients(t *testing.T) {
	t.Parallel()
	s := newService(t)
	lines := s.sse(t, http.Header{})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := s.server.Config.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := lines.ReadString('\n'); err != nil {
			break
		}
	}
	if n := s.handler.web.occupancy.total; n != 0 {
		t.Errorf("%d connections are counted still", n)
	}
}

// Some clients ask for HTTP/2 with each request, and take the answer as it comes.
func TestStreamThatAsksForAnotherProtocol(t *testing.T) {
	t.Parallel()
	newService(t).sse(t, http.Header{"Connection": {"Upgrade"}, "Upgrade": {"h2c"}})
}
