package smtp_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/digest/smtp"
)

func TestParseURL(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]smtp.Options{
		"smtp://mail.example.com":                     {Host: "mail.example.com"},
		"smtp://mail.example.com/":                    {Host: "mail.example.com"},
		"smtp://mail.example.com:25?tls=starttls":     {Host: "mail.example.com", Port: 25, TLS: smtp.StartTLS},
		"smtps://mail.example.com":                    {Host: "mail.example.com", TLS: smtp.Implicit},
		"smtps://mail.example.com:4650?tls=implicit":  {Host: "mail.example.com", Port: 4650, TLS: smtp.Implicit},
		"smtp://mail.example.com:465?tls=implicit":    {Host: "mail.example.com", Port: 465, TLS: smtp.Implicit},
		"smtp://localhost:1025":                       {Host: "localhost", Port: 1025},
		"smtp://[::1]:1025?tls=none":                  {Host: "::1", Port: 1025, TLS: smtp.None},
		"smtp://u:p@127.0.0.1?tls=none":               {Host: "127.0.0.1", Username: "u", Password: "p", TLS: smtp.None},
		"smtp://10.0.0.1?tls=none&allow_plain_text=1": {Host: "10.0.0.1", TLS: smtp.None, AllowPlainText: true},
		"smtp://a%40b.c:p%2F%3A%40s@mail.example.com": {Host: "mail.example.com", Username: "a@b.c", Password: "p/:@s"},
		"smtp://u:p@a.example?auth=scram-sha-256":     {Host: "a.example", Username: "u", Password: "p", Auth: smtp.SCRAMSHA256},
		"smtp://u:p@mail.example.com?auth=auto":       {Host: "mail.example.com", Username: "u", Password: "p"},
		"smtp://mail.example.com?server_name=a.b&ca=/x.pem&hello=c.d&connections=2&mails_per_connection=3&rate=0.5&idle=1s" +
			"&connect=2s&command=3s&body=4s&dot=5s&total=1m&grace=7s": {
			Host: "mail.example.com", ServerName: "a.b", CAFile: "/x.pem", Hello: "c.d", Connections: 2, MailsPerConnection: 3, Rate: 0.5,
			IdleTimeout: time.Second, Timeouts: smtp.Timeouts{
				Connect: 2 * time.Second, Command: 3 * time.Second, Body: 4 * time.Second,
				Dot: 5 * time.Second, Total: time.Minute, Grace: 7 * time.Second,
			},
		},
	} {
		got, err := smtp.ParseURL(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", text, d)
		}
	}
}

// What is wrong is named, and what is secret isn't.
func TestParseURLRefuses(t *testing.T) {
	t.Parallel()
	for text, says := range map[string]string{
		"":                                                         "can't be read",
		"mail.example.com:587":                                     "can't be read",
		"smtp:mail.example.com":                                    "can't be read",
		"smtp://":                                                  "can't be read",
		"smtp://u:hunter2@:587":                                    "host",
		"http://u:hunter2@mail.example.com":                        `"http://"`,
		"smtp://u:hunter2%@mail.example.com":                       "can't be read",
		"smtp://u:hunter2/x@mail.example.com":                      "", // the password has a slash
		"smtp://u:hunter2#x@mail.example.com":                      "",
		"smtp://u:hunter2 x@mail.example.com":                      "",
		"smtp://u:hunter2%0a@mail.example.com":                     "control character",
		"smtp://u:hunter2@mail.example.com/path":                   "path",
		"smtp://u:hunter2@mail.example.com:0":                      "port is 0",
		"smtp://u:hunter2@mail.example.com:70000":                  "70000",
		"smtp://u@mail.example.com":                                "only one",
		"smtp://:hunter2@mail.example.com":                         "only one",
		"smtp://u:hunter2@mail.example.com:465":                    "smtps://",
		"smtps://mail.example.com?tls=none":                        "smtps:// is TLS from the start",
		"smtp://mail.example.com?tls=None":                         "plain text",
		"smtp://mail.example.com?tls=maybe":                        `tls is "maybe"`,
		"smtp://mail.example.com?tls=":                             `tls is ""`,
		"smtp://mail.example.com?tsl=none":                         `"tsl"`,
		"smtp://mail.example.com?tls=none&tls=no":                  "2 times",
		"smtp://u:hunter2@10.0.0.1?tls=none&allow_plain_text=true": "the password for 10.0.0.1 would go over the network",
		"smtp://mail.example.com?allow_plain_text=perhaps":         "perhaps",
		"smtp://mail.example.com?auth=ntlm":                        "NTLM",
		"smtp://mail.example.com?connections=0":                    "connections",
		"smtp://mail.example.com?connections=2000":                 "2000",
		"smtp://mail.example.com?rate=-1":                          "rate",
		"smtp://mail.example.com?rate=NaN":                         "rate",
		"smtp://mail.example.com?rate=fast":                        "fast",
		"smtp://mail.example.com?idle=30":                          `idle is "30"`,
		"smtp://mail.example.com?dot=-1s":                          "dot",
		"smtp://mail.example.com?hello=a%0d%0ab":                   "hello",
		"smtp://mail.example.com?hello=a%20b":                      "hello",
		"smtp://mail.example.com?server_name=a/b":                  "server_name",
		"smtp://mail.example.com?%zz":                              "parameters",
		"smtp://ma il.example.com":                                 "",
		"smtp://mail.example.com%0d%0a":                            "",
		"smtp://" + strings.Repeat("x", 300):                       "host",
	} {
		_, err := smtp.ParseURL(text)
		var wrong *trunkline.ArgumentError
		if !errors.As(err, &wrong) {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if !strings.Contains(err.Error(), says) || wrong.Fix == "" {
			t.Errorf("%s: %v", text, err)
		}
		if shown := fmt.Sprintf("%v %+v %#v", err, err, err); strings.Contains(shown, "hunter2") {
			t.Errorf("%s: the password shows in %s", text, shown)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	for says, o := range map[string]smtp.Options{
		`host is ""`:           {},
		"no such file":         {Host: "a.b", CAFile: empty + "x"},
		"holds no certificate": {Host: "a.b", CAFile: empty},
		"port":                 {Host: "a.b", Port: 65536},
		"mails_per_connection": {Host: "a.b", MailsPerConnection: -1},
		`tls is "ssl"`:         {Host: "a.b", TLS: "ssl"},
		"plain text":           {Host: "a.b", TLS: smtp.None},
		"XOAUTH2":              {Host: "a.b", Auth: "XOAUTH2"},
		`"total" is -1ns`:      {Host: "a.b", Timeouts: smtp.Timeouts{Total: -1}},
	} {
		_, err := smtp.New(o)
		var wrong *trunkline.ArgumentError
		if !errors.As(err, &wrong) || !strings.Contains(err.Error(), says) || wrong.Fix == "" {
			t.Errorf("%s: %v", says, err)
		}
	}
}

func TestOptionsShowNoPassword(t *testing.T) {
	t.Parallel()
	o := smtp.Options{Host: "mail.example.com", Port: 587, Username: "u", Password: "hunter2", TLS: smtp.StartTLS}
	if got, want := o.Address(), "mail.example.com:587"; got != want {
		t.Errorf("the address is %s", got)
	}
	if got, want := fmt.Sprint(o), "smtp://u:…@mail.example.com:587?tls=starttls"; got != want {
		t.Errorf("they show as %s, want %s", got, want)
	}
	asJSON, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{
		string(asJSON), fmt.Sprintf("%v %+v %#v %s %q %d", o, o, o, o, o, o), fmt.Sprintf("%+v", &o),
		fmt.Sprintf("%+v", []any{o, struct{ O smtp.Options }{o}}),
	} {
		if strings.Contains(shown, "hunter2") {
			t.Errorf("the password shows in %s", shown)
		}
	}
}
