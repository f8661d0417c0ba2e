package devmail_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/trunkline/trunkline/digest/devmail"
	"github.com/trunkline/trunkline/digest/mail"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(fullVariable); dir != "" {
		os.Exit(sendToFullDisk(dir))
	}
	goleak.VerifyTestMain(m)
}

func open(t *testing.T, dir string, keep int) *devmail.Box {
	t.Helper()
	box, err := devmail.Open(dir, keep)
	if err != nil {
		t.Fatal(err)
	}
	return box
}

func agree(context.Context) error { return nil }

// send keeps a mail with lines ended by \n here.
func send(t *testing.T, box *devmail.Box, to, text string) {
	t.Helper()
	e := mail.Envelope{From: "bounces@example.com", To: to, Data: []byte(strings.ReplaceAll(text, "\n", "\r\n"))}
	if err := box.Send(t.Context(), e, agree); err != nil {
		t.Fatal(err)
	}
}

// digest is a mail as they are sent.
const digest = `From: =?utf-8?q?B=C3=BCro?= <digest@example.com>
To: "Anna" <anna@example.com>
Subject: =?utf-8?q?3_neue_Nachrichten_=E2=80=93_B=C3=BCro?=
Date: Fri, 20 Nov 2026 10:15:30 +0100
Message-ID: <x@example.com>
List-Unsubscribe: <https://example.com/unsubscribe?token=abc&kind=mention>,
 <mailto:unsubscribe@example.com>
List-Unsubscribe-Post: List-Unsubscribe=One-Click
MIME-Version: 1.0
Content-Type: multipart/alternative; boundary=b

--b
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: quoted-printable

Gr=C3=BC=C3=9Fe: https://example.com/a?x=3D1.
--b
Content-Type: text/html; charset=utf-8
Content-Transfer-Encoding: base64

PCFkb2N0eXBlIGh0bWw+PGh0bWw+PGhlYWQ+PHRpdGxlPng8L3RpdGxlPjwvaGVhZD48Ym9keT48
YSBocmVmPSJodHRwczovL2V4YW1wbGUuY29tL2E/eD0xJmFtcDt5PTIiPlJlYWQgPGI+aXQ8L2I+
PC9hPiA8YSBocmVmPSdodHRwczovL2V4YW1wbGUuY29tL2InPkI8L2E+PHNjcmlwdD5hbGVydCgx
KTwvc2NyaXB0PjwvYm9keT48L2h0bWw+
--b--
`

// site is a server on a loopback address with a Box.
type site struct {
	*httptest.Server
	t *testing.T
}

func serve(t *testing.T, box *devmail.Box) *site {
	s := httptest.NewServer(box.Handler())
	t.Cleanup(s.Close)
	return &site{s, t}
}

// do makes a request, and returns status, headers and body.
func (s *site) do(method, path string, change ...func(*http.Request)) (int, http.Header, string) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.URL+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, c := range change {
		c(r)
	}
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return response.StatusCode, response.Header, string(body)
}
