package smtp_test

import (
	"context"
	"errors"
	"flag"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/trunkline/trunkline/digest/mail"
	"github.com/trunkline/trunkline/digest/smtp"
	"github.com/trunkline/trunkline/internal/smtptest"
)

func TestMain(m *testing.M) {
	// These tests wait more than they compute.
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// patience bounds every wait of a test: long, since it only ends what hangs.
const patience = 60 * time.Second

// newSender sends to a server of the test's, by the server's URL.
func newSender(t *testing.T, server *smtptest.Server, change ...func(*smtp.Options)) *smtp.Sender {
	t.Helper()
	options, err := smtp.ParseURL(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range change {
		c(&options)
	}
	sender, err := smtp.New(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sender.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return sender
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func letter(to string) mail.Envelope {
	return mail.Envelope{From: "digest@example.com", To: to, Data: []byte("Subject: news\r\n\r\nhello\r\n")}
}

// commits counts how often a mail got as far as the final dot.
type commits struct{ n int }

func (c *commits) commit(context.Context) error {
	c.n++
	return nil
}

func agree(context.Context) error { return nil }

func send(t *testing.T, s *smtp.Sender, to string) {
	t.Helper()
	if err := s.Send(testContext(t), letter(to), agree); err != nil {
		t.Fatalf("a mail to %s: %v", to, err)
	}
}

// wantFault checks a SendError but for its text, and returns that.
func wantFault(t *testing.T, err error, want mail.SendError) string {
	t.Helper()
	var fault *mail.SendError
	if !errors.As(err, &fault) {
		t.Fatalf("the error is %T %v, want a *mail.SendError", err, err)
	}
	got := *fault
	got.Err = nil
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	return fault.Error()
}
