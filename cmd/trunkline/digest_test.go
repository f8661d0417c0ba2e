package main

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
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
	if code != exitOK || !strings.Contains(out, "bob@example.org") || !strings.Contains(out, "sent") {
		t.Errorf("in 2030: exit code %d:\n%s%s", code, out, said)
	}
	for _, part := range []string{"mail is kept in " + s.env["TRUNKLINE_DATA_DIR"], "not sent: --smtp-url-file sends it", "http://127.0.0.1:8000", "--public-url", "1 mailed", "/dev/mail", "only tried out", "as of 2030-01-02 15:04:05 UTC"} {
		if !strings.Contains(said, part) {
			t.Errorf("in 2030 it doesn't say %q:\n%s", part, said)
		}
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
	for _, part := range []string{"now: 2 unread notifications wait", "is mailed after 4h", "looked at next: 20", " UTC\n"} {
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
	if code, out, said := do(t, s, "digest", "why", "nobody"); code != exitOK || !strings.Contains(out, "looked at next: when something happens") || !strings.Contains(said, "no such recipient") {
		t.Errorf("of nobody: exit code %d:\n%s%s", code, out, said)
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
	c.err.line(t, "the mail server answers")
	if _, body := get(t, base+"/metrics"); !strings.Contains(body, "trunkline_digest_claimed_total 1\n") || !strings.Contains(body, "trunkline_digest_breaker_open 0\n") {
		t.Errorf("the metrics are\n%s", body)
	}
}

func TestServeTriesTheMailServer(t *testing.T) {
	s, _ := database(t)
	mails := smtptest.Start(t, smtptest.Config{})
	if err := mails.Down(); err != nil {
		t.Fatal(err)
	}
	c := start(t, s, append([]string{"serve", "--listen", "127.0.0.1:0"}, through(t, mails.URL())...)...)
	address(t, c)
	c.err.line(t, "the mail server can't be used now")
}

func TestEveryDigestMetricIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(trunkline_digest_[a-z_]+)` \\| (counter|gauge) \\|").FindAllStringSubmatch(string(text), -1) {
		documented[row[1]] = row[2]
	}
	s, _ := database(t)
	c := start(t, s, "serve", "--listen", "127.0.0.1:0")
	_, body := get(t, address(t, c)+"/metrics")
	served := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^# TYPE (trunkline_digest_[a-z_]+) ([a-z]+)$").FindAllStringSubmatch(body, -1) {
		served[row[1]] = row[2]
	}
	if d := cmp.Diff(documented, served); d != "" || len(served) == 0 {
		t.Errorf("docs/metrics.md says otherwise than /metrics:\n%s", d)
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
		"--mail-from=nobody":                      "--mail-from",
		"--mail-templates=/nowhere":               "/nowhere",
		"--mail-templates=" + templates:           "digest.txt.tmpl",
		"--mail-locale=deutsch-und-so-weiter-und": "locale",
		"--mail-time-zone=Mars/Phobos":            "Mars/Phobos",
		"--dkim-key=/nowhere":                     "/nowhere",
		"--dkim-domain=example.org":               "--dkim-key",
		"--daily-cap=2000":                        "--daily-cap",
		"--daily-cap=-1":                          "--daily-cap",
		"--public-url=ftp://example.org":          "--public-url",
		"--mail-reply-to=nobody":                  "--mail-reply-to",
		"--site-name=":                            "--site-name",
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

// devMail tells whether a serve with these flags shows kept mail.
func devMail(t *testing.T, s surroundings, args ...string) (shown bool, said string) {
	t.Helper()
	c := start(t, s, append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)...)
	base := address(t, c)
	code, _ := get(t, base+"/dev/mail")
	c.interrupt()
	if code := c.wait(t); code != exitOK {
		t.Errorf("%s: exit code %d", args, code)
	}
	return code == http.StatusOK, c.err.String()
}

func TestMailIsKeptForThisMachineAlone(t *testing.T) {
	s, _ := database(t)
	for args, want := range map[string]string{
		"": "", "--public-url=http://localhost:3000": "", "--public-url=http://[::1]:3000/app": "",
		"--jwt-secret=0123456789abcdef0123456789abcdef": "",
		"--trusted-proxy=127.0.0.1":                     "--trusted-proxy",
		"--public-url=https://app.example.org":          "--public-url",
		"--public-url=http://localhost.example.org":     "--public-url",
	} {
		shown, said := devMail(t, s, strings.Fields(args)...)
		if shown != (want == "") || !strings.Contains(said, want) || strings.Contains(said, "no digests are mailed") == shown {
			t.Errorf("%s: shown %v:\n%s", args, shown, said)
		}
		if want == "" {
			continue
		}
		if code, _, said := do(t, s, "serve", "--listen", "127.0.0.1:0", "--digests=on", args); code != exitUsage || !strings.Contains(said, "--smtp-url-file") {
			t.Errorf("%s --digests=on: exit code %d: %s", args, code, said)
		}
	}
}

// What digest keeps has links to where serve serves, for as long as it does.
func TestServeSaysWhereItServes(t *testing.T) {
	s, _ := unread(t)
	file := filepath.Join(s.env["TRUNKLINE_DATA_DIR"], "site")
	c := start(t, s, "serve", "--listen", "127.0.0.1:0")
	base := address(t, c)
	text, err := os.ReadFile(file)
	if err != nil || string(text) != base+"\n" {
		t.Fatalf("the file is %q (%v), want %s", text, err, base)
	}
	if about, err := os.Stat(file); err != nil || about.Mode().Perm() != 0o644 {
		t.Errorf("%v (%v)", about, err)
	}
	if code, _, said := do(t, s, "digest", "--once", "--at", "2030-01-02T15:04:05Z"); code != exitOK || strings.Contains(said, "--public-url") {
		t.Errorf("exit code %d: %s", code, said)
	}
	if _, body := get(t, base+"/dev/mail.json"); !strings.Contains(body, base+"/projects/42") {
		t.Errorf("its links don't lead to %s:\n%s", base, body)
	}
	c.interrupt()
	if code := c.wait(t); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("the file stays: %v", err)
	}
}

// through gives the flags that send mail through a server.
func through(t *testing.T, url string) []string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "smtp")
	if err := os.WriteFile(file, []byte(url+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{"--smtp-url-file", file, "--mail-from", "notifications@example.org", "--public-url", "https://app.example.org"}
}

func TestDigestOnceFailsWhereAMailDid(t *testing.T) {
	s, _ := unread(t)
	mails := smtptest.Start(t, smtptest.Config{})
	mails.On(smtptest.Rule{Step: smtptest.Rcpt}, smtptest.Answer("451 4.7.1 come back later"))
	code, out, said := do(t, s, append([]string{"digest", "--once", "--at", "2030-01-02T15:04:05Z"}, through(t, mails.URL())...)...)
	if code != exitFailed || !strings.Contains(out, "claimed") || !strings.Contains(said, "1 of 1 mails that were tried weren't sent") || !strings.Contains(said, "come back later") {
		t.Errorf("exit code %d:\n%s%s", code, out, said)
	}
	if !strings.Contains(said, "people are sent what isn't due yet") || strings.Contains(said, "is kept in") {
		t.Errorf("it says\n%s", said)
	}
	why := succeed(t, s, "digest", "why", "bob")
	if first, _, _ := strings.Cut(why, "\n"); !strings.HasPrefix(first, "1 mail is under way: mail ") || !strings.Contains(first, "tried again at 2030-01-02 15:") || !strings.HasSuffix(first, " UTC") {
		t.Errorf("it begins with %q", first)
	}
	if !strings.Contains(why, "NEXT TRY") {
		t.Errorf("when it is tried next isn't in\n%s", why)
	}
}

// What is to be sent isn't taken by who only keeps it.
func TestDigestDoesntKeepWhatIsSent(t *testing.T) {
	s, _ := unread(t)
	mails := smtptest.Start(t, smtptest.Config{})
	succeed(t, s, append([]string{"digest", "--once"}, through(t, mails.URL())...)...)
	for _, args := range [][]string{{"digest", "--once", "--at", "2030-01-02"}, {"digest"}} {
		code, _, said := do(t, s, args...)
		if code != exitFailed || !strings.Contains(said, "--smtp-url-file") || !strings.Contains(said, "--database-url") || !strings.Contains(said, "a worker with a mail server") {
			t.Errorf("%s: exit code %d: %s", args, code, said)
		}
	}
	c := start(t, s, "serve", "--listen", "127.0.0.1:0")
	address(t, c)
	if said := c.err.line(t, "no digests are mailed by this node"); !strings.Contains(said, "--smtp-url-file") {
		t.Errorf("serve says\n%s", said)
	}
}
