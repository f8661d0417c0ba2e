package mail

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/emersion/go-msgauth/dkim"

	"github.com/trunkline/trunkline"
)

// DKIM is a key that mails are signed with (RFC 6376). Its public half is in DNS, at SELECTOR._domainkey.DOMAIN.
type DKIM struct {
	// Domain that vouches: the sender's, or one above it.
	Domain string
	// Selector is the key's name among the domain's.
	Selector string
	// Key is RSA of at least 1024 bits, better 2048, or Ed25519: see [ParseKey]. Not all programs know Ed25519 yet; two keys,
	// one of each, serve everybody.
	Key crypto.Signer
}

// ParseKey reads a private key: PEM with PKCS#8 or PKCS#1 in it, without a password.
func ParseKey(text []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, badKey("is not PEM")
	}
	var key any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		return nil, badKey(fmt.Sprintf("is a %s", line(block.Type, 40)))
	}
	if err != nil {
		return nil, badKey(fmt.Sprintf("can't be read: %v", err))
	}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		return key, nil
	case ed25519.PrivateKey:
		return key, nil
	}
	return nil, badKey(fmt.Sprintf("is of the type %T", key))
}

func badKey(why string) error {
	return &trunkline.ArgumentError{
		Argument: "dkim-key", Problem: "the DKIM key " + why,
		Fix: "Give an RSA or Ed25519 key without a password, such as `openssl genpkey -algorithm ed25519` writes",
	}
}

// Fields that are signed. Those in the first list are signed once more than they occur, so that nobody can add another: what says
// who sent it and what it is, where answers go, and what unsubscribes, which providers act upon only if it is signed (RFC 8058).
var (
	sealed = []string{
		"From", "To", "Cc", "Reply-To", "Subject", "Date", "Message-Id", "In-Reply-To", "References", "Mime-Version",
		"Content-Type", "Content-Transfer-Encoding", "List-Unsubscribe", "List-Unsubscribe-Post",
	}
	signed = []string{"Auto-Submitted", "List-Id", "Feedback-Id"}
)

type signer struct {
	domain, selector string
	key              crypto.Signer
}

func (k *DKIM) check() error {
	refuse := func(argument, problem, fix string) error {
		return &trunkline.ArgumentError{Argument: argument, Problem: problem, Fix: fix}
	}
	if domain, err := asciiDomain(k.Domain); err != nil || domain != k.Domain {
		return refuse("dkim-domain", "the DKIM domain "+quoted(k.Domain)+" is not the name of a domain in ASCII and lower case",
			"Give one such as example.org")
	}
	if selector, err := asciiDomain(k.Selector); err != nil || selector != k.Selector {
		return refuse("dkim-selector", "the DKIM selector "+quoted(k.Selector)+" is not a name that DNS can have",
			"Give one such as mail2026")
	}
	if k.Key == nil {
		return refuse("dkim-key", "there is no DKIM key for "+k.Domain, "Give one, or no domain and selector")
	}
	switch public := k.Key.Public().(type) {
	case ed25519.PublicKey:
	case *rsa.PublicKey:
		if bits := public.N.BitLen(); bits < 1024 {
			return refuse("dkim-key", fmt.Sprintf("the DKIM key has %d bits", bits),
				"Nobody accepts fewer than 1024: make one of 2048")
		}
	default:
		return refuse("dkim-key", fmt.Sprintf("the DKIM key is of the type %T", public), "Give an RSA or Ed25519 key")
	}
	return nil
}

func (k *DKIM) signer() signer { return signer{domain: k.Domain, selector: k.Selector, key: k.Key} }

// sign puts a signature of each key in front of a mail.
func (r *Renderer) sign(mail []byte) ([]byte, error) {
	if len(r.signers) == 0 {
		return mail, nil
	}
	header, _, found := bytes.Cut(mail, []byte("\r\n\r\n"))
	if !found {
		return nil, errors.New("sign the mail: it has no body")
	}
	keys := append([]string(nil), sealed...)
	for _, field := range sealed {
		if has(header, field) {
			keys = append(keys, field)
		}
	}
	for _, field := range signed {
		if has(header, field) {
			keys = append(keys, field)
		}
	}
	var all bytes.Buffer
	all.Grow(len(mail) + 2048)
	for i := range r.signers {
		s := &r.signers[i]
		work, err := dkim.NewSigner(&dkim.SignOptions{
			Domain: s.domain, Selector: s.selector, Signer: s.key, HeaderKeys: keys,
			HeaderCanonicalization: dkim.CanonicalizationRelaxed, BodyCanonicalization: dkim.CanonicalizationRelaxed,
		})
		if err != nil {
			return nil, fmt.Errorf("sign the mail for %s: %w", s.domain, err)
		}
		_, err = work.Write(mail)
		if err := errors.Join(err, work.Close()); err != nil {
			return nil, fmt.Errorf("sign the mail for %s: %w", s.domain, err)
		}
		all.WriteString(work.Signature())
	}
	all.Write(mail)
	return all.Bytes(), nil
}

// has reports whether a header has a field.
func has(header []byte, field string) bool {
	for l := range bytes.SplitSeq(header, []byte("\r\n")) {
		if len(l) > len(field) && l[len(field)] == ':' && bytes.EqualFold(l[:len(field)], []byte(field)) {
			return true
		}
	}
	return false
}
