package main

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestServeSaysThatItIsOpen(t *testing.T) {
	s, _ := database(t)
	c := start(t, s, "serve", "--listen", "127.0.0.1:0")
	c.out.line(t, "ws://127.0.0.1:")
	address(t, c)
	c.out.line(t, "Open: anyone on this machine may do all.")
}

func TestServeWithKeysServesOtherMachines(t *testing.T) {
	s, _ := database(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("0123456789abcdef0123456789abcdef\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := start(t, s, "serve", "--listen", "0.0.0.0:0", "--jwt-secret-file", secret)
	c.out.line(t, "trunkline token")
	base := address(t, c)
	if code, body := get(t, base+"/v1/stream?channel=news"); code != http.StatusUnauthorized && code != http.StatusForbidden {
		t.Errorf("without a token: status %d: %s", code, body)
	}
	if all := c.out.String() + c.err.String(); strings.Contains(all, "Open:") || strings.Contains(all, "short enough") || strings.Contains(all, "0123456789abcdef") {
		t.Errorf("it says\n%s", all)
	}
}

func TestServeWarnsOfAShortSecret(t *testing.T) {
	s, _ := database(t)
	c := start(t, s, "serve", "--listen", "127.0.0.1:0", "--jwt-secret", "changeit")
	address(t, c)
	if said := c.err.String(); !strings.Contains(said, "short enough to be guessed") || strings.Contains(said, "changeit") {
		t.Errorf("it says\n%s", said)
	}
}

func TestMetricsHaveAnAddressOfTheirOwn(t *testing.T) {
	s, _ := database(t)
	c := start(t, s, "serve", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0")
	line := c.err.line(t, "metrics_listen=")
	base := address(t, c)
	operation := "http://" + regexp.MustCompile(`metrics_listen=([0-9.:]+)`).FindStringSubmatch(line)[1]
	for url, want := range map[string]int{
		base + "/metrics": http.StatusOK, operation + "/metrics": http.StatusOK, operation + "/healthz": http.StatusOK,
		operation + "/v1/stream?channel=news": http.StatusNotFound,
	} {
		if code, body := get(t, url); code != want {
			t.Errorf("%s: status %d, want %d: %s", url, code, want, body)
		}
	}
}

func TestServeDrains(t *testing.T) {
	s, _ := database(t)
	c := spawn(t, []string{"TRUNKLINE_DATABASE_URL=" + s.env["TRUNKLINE_DATABASE_URL"]}, "serve", "--listen", "127.0.0.1:0", "--drain", "1h", "--drain-delay", "10ms")
	events := stream(t, address(t, c), "channel=news")
	c.interrupt()
	c.err.line(t, "waiting for those who send clients here")
	// One client leaves at once: it is no crowd that would take an hour.
	if code := c.wait(t); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	c.err.line(t, "clients have left")
	for range events {
	}
}
