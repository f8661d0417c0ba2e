package e2e

import (
	"fmt"
	"io"
	"math/rand/v2"
	"mime/quotedprintable"
	"net/mail"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/trunkline/trunkline/internal/pgtest"
	"github.com/trunkline/trunkline/internal/smtptest"
)

// A program that mails digests is killed twenty times, wherever it happens to be. Every notification is mailed all the same, and what
// is mailed twice is so under one Message-ID, and was being handed over when the program was killed.
func TestKilledDigestsLoseNothing(t *testing.T) {
	t.Parallel()
	const (
		users       = 240
		kills       = 20
		connections = 4 // of one program, as is its default: so many mails can be under way
	)
	program, err := trunkline()
	if err != nil {
		t.Fatal(err)
	}
	database := pgtest.Database(t)
	conn := pgtest.Connect(t, database)
	for _, sql := range []string{
		"SELECT trunkline.kind('item', template => '{text}')",
		fmt.Sprintf(`SELECT trunkline.set_recipient(n::text, 'u' || n || '@example.org') FROM generate_series(1, %d) n`, users),
		// Those of one user arrive one after the other, so that no mail is the only one in which all of them could be.
		fmt.Sprintf(`SELECT trunkline.notify(n::text, 'item', json_build_object('text', 'item-' || n || '-' || i)) FROM generate_series(1, 3) i, generate_series(1, %d) n`, users),
	} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	server := smtptest.Start(t, smtptest.Config{})
	server.On(smtptest.Rule{Step: smtptest.Dot}, smtptest.Slow(2*time.Millisecond))

	// Each pass is as of an hour later: by then the tries of the one that was killed are nobody's any more.
	at := time.Date(2030, 1, 2, 8, 0, 0, 0, time.UTC)
	pass := func() (*exec.Cmd, *output, chan error) {
		at = at.Add(time.Hour)
		cmd := exec.Command(program, "digest", "--once", "--at", at.Format(time.RFC3339), "--database-url", database, "--smtp-url", server.URL(),
			"--mail-from", "notifications@example.org", "--public-url", "https://app.example.org", "--daily-cap", "0")
		dieWithUs(cmd)
		out := newOutput()
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		return cmd, out, ended
	}
	done := false
	for kill := range kills {
		got := len(server.Mails())
		cmd, out, ended := pass()
		// Some die before their first mail, some in the middle of one.
		more := rand.IntN(users / kills)
		for deadline := time.Now().Add(patience); len(server.Mails()) < got+more; time.Sleep(100 * time.Microsecond) {
			if done {
				break // there was not so much left to mail
			}
			select {
			case err := <-ended:
				if err != nil {
					t.Fatalf("pass %d ended by itself after %d mails (%v):\n%s", kill, len(server.Mails())-got, err, out.tail())
				}
				done = true
				continue
			default:
			}
			if time.Now().After(deadline) {
				t.Fatalf("pass %d mailed %d, want %d:\n%s", kill, len(server.Mails())-got, more, out.tail())
			}
		}
		if done {
			break
		}
		time.Sleep(time.Duration(rand.Int64N(int64(10 * time.Millisecond)))) // anywhere in a mail, or between two
		_ = cmd.Process.Kill()
		if err := <-ended; err == nil {
			break // it was done already
		}
	}
	for pending := 1; pending > 0; {
		_, out, ended := pass()
		if err := <-ended; err != nil {
			t.Fatalf("%v:\n%s", err, out.tail())
		}
		if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM trunkline.digest WHERE phase IN ('claimed', 'data_sent')").Scan(&pending); err != nil {
			t.Fatal(err)
		}
		if at.Year() > 2030 {
			t.Fatalf("%d mails are still under way:\n%s", pending, out.tail())
		}
	}

	mails := map[string][]string{} // Message-IDs by item
	doubles := 0
	seen := map[string]bool{}
	item := regexp.MustCompile(`item-\d+-\d+`)
	for _, kept := range server.Mails() {
		message, err := mail.ReadMessage(strings.NewReader(string(kept.Data)))
		if err != nil {
			t.Fatal(err)
		}
		id := message.Header.Get("Message-Id")
		if seen[id] {
			doubles++
		}
		seen[id] = true
		body, err := io.ReadAll(quotedprintable.NewReader(message.Body))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range item.FindAllString(string(body), -1) {
			if !slices.Contains(mails[name], id) {
				mails[name] = append(mails[name], id)
			}
		}
	}
	for n := 1; n <= users; n++ {
		for i := 1; i <= 3; i++ {
			name := fmt.Sprintf("item-%d-%d", n, i)
			if len(mails[name]) != 1 {
				t.Errorf("%s is in the mails %v, want it in one", name, mails[name])
			}
		}
	}
	if doubles > kills*connections {
		t.Errorf("%d mails came twice, more than the %d that can have been under way", doubles, kills*connections)
	}
	t.Logf("%d mails, %d of them twice", len(seen), doubles)
}
