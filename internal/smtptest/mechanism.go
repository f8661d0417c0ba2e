package smtptest

import (
	"crypto/hmac"
	"crypto/md5" //nolint:gosec // what CRAM-MD5 is made of
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/emersion/go-smtp"
)

// login is the server's side of LOGIN.
type login struct {
	check func(user, password string) error
	asked int
	user  string
}

func (l *login) Next(response []byte) (challenge []byte, done bool, err error) {
	l.asked++
	switch {
	case l.asked == 1 && response == nil:
		return []byte("Username:"), false, nil
	case l.user == "":
		l.user = string(response)
		return []byte("Password:"), false, nil
	default:
		return nil, true, l.check(l.user, string(response))
	}
}

// cramMD5 is the server's side of CRAM-MD5.
type cramMD5 struct {
	session   *session
	challenge string
}

func (m *cramMD5) Next(response []byte) (challenge []byte, done bool, err error) {
	if m.challenge == "" {
		m.challenge = "<" + rand.Text() + "@mail.test>"
		return []byte(m.challenge), false, nil
	}
	user, digest, _ := strings.Cut(string(response), " ")
	password, known := m.session.conn.server.config.Users[user]
	mac := hmac.New(md5.New, []byte(password))
	mac.Write([]byte(m.challenge))
	if !known || hex.EncodeToString(mac.Sum(nil)) != digest {
		return nil, true, smtp.ErrAuthFailed
	}
	m.session.user = user
	return nil, true, nil
}

// scram is the server's side of SCRAM-SHA-256 (RFC 7677), without channel binding.
type scram struct {
	session *session
	step    int
	user    string
	first   string // the client's first message without its header, and the server's
	nonce   string
	salted  []byte
}

func (s *scram) Next(response []byte) (challenge []byte, done bool, err error) {
	s.step++
	switch s.step {
	case 1: // the client waits to be asked
		return []byte{}, false, nil
	case 2:
		bare, ok := strings.CutPrefix(string(response), "n,,")
		if !ok {
			return nil, true, smtp.ErrAuthFailed
		}
		user, nonce, _ := strings.Cut(strings.TrimPrefix(bare, "n="), ",r=")
		password, known := s.session.conn.server.config.Users[user]
		if !known {
			return nil, true, smtp.ErrAuthFailed
		}
		const rounds = 4096
		salt := []byte(rand.Text())
		if s.salted, err = pbkdf2.Key(sha256.New, password, salt, rounds, sha256.Size); err != nil {
			return nil, true, err
		}
		s.user, s.nonce = user, nonce+rand.Text()
		answer := fmt.Sprintf("r=%s,s=%s,i=%d", s.nonce, base64.StdEncoding.EncodeToString(salt), rounds)
		s.first = bare + "," + answer
		return []byte(answer), false, nil
	case 3:
		without, proof, _ := strings.Cut(string(response), ",p=")
		if without != "c=biws,r="+s.nonce {
			return nil, true, smtp.ErrAuthFailed
		}
		key := sign(s.salted, "Client Key")
		stored := sha256.Sum256(key)
		signature := sign(stored[:], s.first+","+without)
		for i := range signature {
			signature[i] ^= key[i]
		}
		if base64.StdEncoding.EncodeToString(signature) != proof {
			return nil, true, smtp.ErrAuthFailed
		}
		server := sign(sign(s.salted, "Server Key"), s.first+","+without)
		return []byte("v=" + base64.StdEncoding.EncodeToString(server)), false, nil
	default:
		s.session.user = s.user
		return nil, true, nil
	}
}

func sign(key []byte, text string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}
