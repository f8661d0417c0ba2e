package mail_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/emersion/go-msgauth/dkim"
	"github.com/google/go-cmp/cmp"

	"github.com/trunkline/trunkline/digest/mail"
)

var (
	ed25519Key = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32))
	rsaKey     = func() *rsa.PrivateKey {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		return key
	}()
)

// verify checks a mail's signatures as receivers do, with keys that are in no DNS.
func verify(t *testing.T, raw []byte) []*dkim.Verification {
	t.Helper()
	found, err := dkim.VerifyWithOptions(bytes.NewReader(raw), &dkim.VerifyOptions{LookupTXT: func(name string) ([]string, error) {
		switch name {
		case "old._domainkey.example.org":
			public, err := x509.MarshalPKIXPublicKey(rsaKey.Public())
			return []string{"v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(public)}, err
		case "new._domainkey.example.org":
			return []string{"v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(ed25519Key.Public().(ed25519.PublicKey))}, nil
		}
		return nil, fmt.Errorf("no such host: %s", name)
	}})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func signing(o *mail.Options) {
	o.DKIM = []mail.DKIM{{Domain: "example.org", Selector: "old", Key: rsaKey}, {Domain: "example.org", Selector: "new", Key: ed25519Key}}
	o.ReplyTo = "help@example.org"
}

func TestDKIM(t *testing.T) {
	r, unsigned := renderer(t, signing), renderer(t, func(o *mail.Options) { signing(o); o.DKIM = nil })
	for name, d := range digests() {
		_, e := render(t, r, d)
		found := verify(t, e.Data)
		if len(found) != 2 || found[0].Err != nil || found[1].Err != nil || found[0].Domain != "example.org" {
			t.Errorf("%s: %+v", name, found)
		}
		// Nothing of the mail but the signatures is another one.
		_, plain := render(t, unsigned, d)
		if !bytes.HasSuffix(e.Data, plain.Data) || bytes.Count(e.Data, []byte("\r\nDKIM-Signature:")) != 1 || !bytes.HasPrefix(e.Data, []byte("DKIM-Signature:")) {
			t.Errorf("%s: %s", name, e.Data)
		}
	}
}

// A signature stands for everything that a reader sees, or a program acts upon.
func TestDKIMCoversWhatMatters(t *testing.T) {
	r := renderer(t, signing)
	_, e := render(t, r, digests()["group"])
	for _, field := range []string{
		"From", "To", "Reply-To", "Subject", "Date", "Message-ID", "In-Reply-To", "References", "MIME-Version", "Content-Type", "Auto-Submitted", "List-Id",
		"List-Unsubscribe", "List-Unsubscribe-Post",
	} {
		changed := bytes.Replace(e.Data, []byte("\r\n"+field+":"), []byte("\r\n"+field+": x"), 1)
		if bytes.Equal(changed, e.Data) {
			t.Fatalf("there is no %s", field)
		}
		for _, v := range verify(t, changed) {
			if v.Err == nil {
				t.Errorf("%s can be changed", field)
			}
		}
	}
	for _, added := range []string{
		"From: x@example.net", "To: x@example.net", "Cc: x@example.net", "Subject: x", "Reply-To: x@example.net", "Content-Type: text/plain", "Date: x",
		"Content-Transfer-Encoding: base64", "List-Unsubscribe: <https://example.net>", "Message-ID: <x@example.net>",
	} {
		end := bytes.Index(e.Data, []byte("\r\n\r\n"))
		for _, changed := range [][]byte{
			append([]byte(added+"\r\n"), e.Data...),
			bytes.Join([][]byte{e.Data[:end], []byte("\r\n" + added), e.Data[end:]}, nil),
		} {
			for _, v := range verify(t, changed) {
				if v.Err == nil {
					t.Errorf("a second field can be added: %s", added)
				}
			}
		}
	}
	changed := bytes.Replace(e.Data, []byte("Hello Ann"), []byte("Hello Bob"), 1)
	for _, v := range verify(t, changed) {
		if v.Err == nil {
			t.Error("the body can be changed")
		}
	}
	// What servers do on the way is allowed: another folding, more spaces, fields of their own.
	changed = append([]byte("Received: from a by b\r\nX-Spam: no\r\n"), bytes.Replace(e.Data, []byte("\r\nSubject:"), []byte("\r\nSubject:  \r\n "), 1)...)
	for _, v := range verify(t, changed) {
		if v.Err != nil {
			t.Errorf("what servers do breaks it: %v", v.Err)
		}
	}
}

// A key that can't sign is an error: a mail that should be signed doesn't go out without.
func TestKeyThatFails(t *testing.T) {
	r := renderer(t, func(o *mail.Options) {
		o.DKIM = []mail.DKIM{{Domain: "example.org", Selector: "new", Key: brokenKey{ed25519Key}}}
	})
	if e, _, err := r.Render(digest(1)); err == nil || !strings.Contains(err.Error(), "sign the mail for example.org: the token is gone") || e.Data != nil {
		t.Errorf("%v %s", err, e.Data)
	}
}

type brokenKey struct{ crypto.Signer }

func (brokenKey) Sign(_ io.Reader, _ []byte, _ crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("the token is gone")
}

func TestParseKey(t *testing.T) {
	encode := func(kind string, der []byte, err error) []byte {
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	}
	pkcs8 := func(key any) []byte {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		return encode("PRIVATE KEY", der, err)
	}
	for name, text := range map[string][]byte{
		"RSA, PKCS#1": encode("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey), nil), "RSA, PKCS#8": pkcs8(rsaKey), "Ed25519": pkcs8(ed25519Key),
	} {
		key, err := mail.ParseKey(text)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if public := key.Public(); !rsaKey.PublicKey.Equal(public) && !ed25519Key.Public().(ed25519.PublicKey).Equal(public) {
			t.Errorf("%s is another key", name)
		}
	}
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for want, text := range map[string][]byte{
		"the DKIM key is not PEM":                       []byte("MIIE"),
		"the DKIM key is a CERTIFICATE":                 encode("CERTIFICATE", nil, nil),
		"the DKIM key is a ENCRYPTED PRIVATE KEY":       encode("ENCRYPTED PRIVATE KEY", nil, nil),
		"the DKIM key can't be read":                    encode("PRIVATE KEY", []byte("x"), nil),
		"the DKIM key is of the type *ecdsa.PrivateKey": pkcs8(curve),
	} {
		_, err := mail.ParseKey(text)
		if diff := cmp.Diff([]string{"dkim-key"}, arguments(err)); diff != "" || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
