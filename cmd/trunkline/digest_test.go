package main

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline/digest"
	"github.com/trunkline/trunkline/internal/smtptest"
)

// unread gives bob an address, and two notifications.
func unread(t *testing.T) (surroundings, *pgx.Conn) {
	t.Helper()
	s, conn := database(t)
	execute(t, conn,
		"SELECT trunkline.kind('task.completed', title => 'Task completed', template => '{actor} completed “{task.title}”')",
		"SELECT trunkline.set_recipient('bob', 'bob@example.org', 'Bob', 'Europe/Berlin')",
		`SELECT trunkline.notify('bob', 'task.completed', '{"actor": "Ann", "task": {"title": "Paint the door"}}', "group" => 'project:42', link => '/projects/42')`,
		`SELECT trunkline.notify('bob', 'mention', '{}')`)
	return s, conn
}

func TestDigestOnceKeepsMailThatServeShows(t *testing.T) {
	s, _ := unread(t)
	code, out, said := do(t, s, "digest", "--once")
	if code != exitOK || out != "" || !strings.Contains(said, "0 looked at, 0 mailed") {
		t.Errorf("at once: exit code %d:\n%s%s", code, out, said)
	}
	code, out, said = do(t, s, "digest", "--once", "--at", "2030-01-02T15:04:05Z")
	if code != exitOK || !strings.Contains(out, "bob@example.org") || !strings.Contains(out, "sent") || !strings.Contains(said, "1 mailed") || !strings.Contains(said, "/dev/mail") {
		t.Errorf("in 2030: exit code %d:\n%s%s", code, out, said)
	}
	var report digest.Report
	if err := json.Unmarshal([]byte(succeed(t, s, "digest", "--once", "--at", "2030-01-03", "--json")), &report); err != nil || len(report.Mails) != 0 || report.At.Year() != 2030 {
		t.Errorf("once more: %+v (%v)", report, err)
	}

	c := start(t, s, "serve", "--listen", "127.0.0.1:0")
	base := address(t, c)
	if said := c.out.String(); !strings.Contains(said, base+"/dev/mail") {
		t.Errorf("it doesn't say where mail is shown:\n%s", said)
	}
	code, body := get(t, base+"/dev/mail.json")
	var box struct {
		Mails []struct{ ID, To, Subject, Text string }
	}
	if err := json.Unmarshal([]byte(body), &box); code != http.StatusOK || err != nil || len(box.Mails) != 1 || !strings.Contains(box.Mails[0].To, "bob@example.org") {
		t.Fatalf("status %d: %s (%v)", code, body, err)
	}
	if !strings.Contains(box.Mails[0].Text, "Ann completed “Paint the door”") || !strings.Contains(box.Mails[0].Text, "/projects/42") {
		t.Errorf("its text is\n%s", box.Mails[0].Text)
	}
	if code, body := get(t, base+"/dev/mail"); code != http.StatusOK || !strings.Contains(body, box.Mails[0].ID) {
		t.Errorf("status %d: %s", code, body)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/dev/mail.json", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Forwarded-For", "192.0.2.1")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); response.StatusCode < 400 || err != nil || strings.Contains(string(body), "bob@example.org") {
		t.Errorf("through a proxy: status %d: %s (%v)", response.StatusCode, body, err)
	}
}

func TestDigestWhy(t *testing.T) {
	s, _ := unread(t)
	succeed(t, s, "digest", "--once")
	out := succeed(t, s, "digest", "why", "bob")
	for _, part := range []string{"now: 2 unread notifications wait", "is mailed after 4h", "looked at next: 20"} {
		if !strings.Contains(out, part) {
			t.Errorf("%q isn't in\n%s", part, out)
		}
	}
	succeed(t, s, "digest", "--once", "--at", "2030-01-02")
	var history digest.History
	if err := json.Unmarshal([]byte(succeed(t, s, "digest", "why", "bob", "--json")), &history); err != nil || len(history.Mails) != 1 || history.Mails[0].Phase != digest.Sent {
		t.Errorf("%v: %+v", err, history)
	}
	if out := succeed(t, s, "digest", "why", "bob"); !strings.Contains(out, "bob@example.org") || !strings.Contains(out, "2 unread notifications are mailed") {
		t.Errorf("after the mail:\n%s", out)
	}
	if out := succeed(t, s, "digest", "why", "nobody"); !strings.Contains(out, "looked at next: when something happens") {
		t.Errorf("of nobody:\n%s", out)
	}
	if code, _, said := do(t, s, "digest", "resend", "1"); code != exitFailed || !strings.Contains(said, "no parked mail 1") {
		t.Errorf("resend: exit code %d: %s", code, said)
	}
}

func TestServeSendsThroughAMailServer(t *testing.T) {
	s, conn := unread(t)
	mails := smtptest.Start(t, smtptest.Config{})
	url := filepath.Join(t.TempDir(), "smtp")
	if err := os.WriteFile(url, []byte(mails.URL()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := start(t, s, "serve", "--listen", "127.0.0.1:0", "--smtp-url-file", url, "--mail-from", "Projects <notifications@example.org>",
		"--public-url", "https://app.example.org", "--site-name", "Projects", "--mail-locale", "de")
	base := address(t, c)
	execute(t, conn, `SELECT trunkline.set_preferences('bob', '{"default": {"mail": "at_once"}}')`)
	mails.Wait(t, 1)
	got := mails.Mails()[0]
	if got.From != "notifications@example.org" || got.To[0] != "bob@example.org" || !strings.Contains(string(got.Data), " <https://app.example.org/v1/unsubscribe/") || !strings.Contains(string(got.Data), "Subject: mention und eine weitere") {
		t.Errorf("from %s to %s:\n%s", got.From, got.To, got.Data)
	}
	if code, _ := get(t, base+"/dev/mail"); code != http.StatusNotFound {
		t.Errorf("/dev/mail: status %d", code)
	}
}

func TestMailFlagsAreCheckedAtOnce(t *testing.T) {
	s, _ := database(t)
	templates := t.TempDir()
	if err := os.WriteFile(filepath.Join(templates, "digest.txt.tmpl"), []byte("Hello {{.Nobody}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]string{
		"--smtp-url=smtp://mail.example.org":                                                          "--mail-from",
		"--smtp-url=smtp://mail.example.org --mail-from=a@example.org":                                "--public-url",
		"--smtp-url=smtp://u:hidden@ --mail-from=a@example.org --public-url=https://a.example.org":    "smtp://user:password@",
		"--smtp-url=http://mail.example.org --mail-from=a@example.org --public-url=https://a.example": "smtp",
		"--smtp-url-file=/nowhere":                "/nowhere",
		"--mail-from=nobody":                      "nobody",
		"--mail-templates=/nowhere":               "/nowhere",
		"--mail-templates=" + templates:           "digest.txt.tmpl",
		"--mail-locale=deutsch-und-so-weiter-und": "locale",
		"--mail-time-zone=Mars/Phobos":            "Mars/Phobos",
		"--dkim-key=/nowhere":                     "/nowhere",
		"--dkim-domain=example.org":               "--dkim-key",
		"--daily-cap=2000":                        "--daily-cap",
		"--public-url=ftp://example.org":          "public",
		"--site-name=":                            "site",
	} {
		code, _, said := do(t, s, append([]string{"serve", "--listen", "127.0.0.1:0"}, strings.Fields(args)...)...)
		if code != exitUsage || !strings.Contains(said, want) || strings.Contains(said, "hidden") {
			t.Errorf("%s: exit code %d: %s, want %q", args, code, said, want)
		}
	}
	for args, want := range map[string]string{
		"--at=2030-01-02":      "--once",
		"--once --at=tomorrow": "2030-01-02T15:04:05Z",
		"--digests=off":        "--digests",
		"why bob --limit=0":    "--limit",
	} {
		code, _, said := do(t, s, append([]string{"digest"}, strings.Fields(args)...)...)
		if code != exitUsage || !strings.Contains(said, want) {
			t.Errorf("digest %s: exit code %d: %s, want %q", args, code, said, want)
		}
	}
	code, _, said := do(t, s, "serve", "--listen", "0.0.0.0:0", "--jwt-secret", strings.Repeat("s", 32), "--digests", "on")
	if code != exitUsage || !strings.Contains(said, "--smtp-url-file") {
		t.Errorf("--digests on without a mail server: exit code %d: %s", code, said)
	}
}
