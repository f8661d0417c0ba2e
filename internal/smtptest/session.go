package smtptest

import (
	"errors"
	"io"
	"slices"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// A session is what the server knows of a client.
type session struct {
	conn  *conn
	hello string
	user  string
	from  string
	to    []string
	utf8  bool
}

func (s *Server) session(c *smtp.Conn) (smtp.Session, error) {
	through, ok := c.Conn().(*conn)
	if !ok {
		return nil, errors.New("a connection that isn't ours")
	}
	if through.session == nil {
		through.session = &session{conn: through}
	}
	through.session.hello = c.Hostname()
	return through.session, nil
}

func (s *session) Reset() { s.from, s.to, s.utf8 = "", nil, false }

func (s *session) Logout() error { return nil }

func (s *session) Mail(from string, options *smtp.MailOptions) error {
	if len(s.conn.server.config.Users) > 0 && s.user == "" {
		return &smtp.SMTPError{Code: 530, EnhancedCode: smtp.EnhancedCode{5, 7, 0}, Message: "authenticate first"}
	}
	s.from, s.utf8 = from, options.UTF8
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.to = append(s.to, to)
	return nil
}

// Data keeps the mail, unless the test has it that it gets lost.
func (s *session) Data(r io.Reader) error {
	text, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if fault := s.conn.verdict; fault != nil && fault.kind != waits && !fault.kept {
		return nil
	}
	m := Mail{
		From: s.from, To: slices.Clone(s.to), UTF8: s.utf8, Data: text, Wire: slices.Clone(s.conn.body),
		User: s.user, TLS: s.conn.secure, Hello: s.hello, Connection: s.conn.number,
	}
	server := s.conn.server
	server.change(func() { server.mails = append(server.mails, m) })
	return nil
}

func (s *session) AuthMechanisms() []string {
	if len(s.conn.server.config.Users) == 0 {
		return nil
	}
	return s.conn.server.config.Mechanisms
}

func (s *session) Auth(mechanism string) (sasl.Server, error) {
	if !slices.Contains(s.AuthMechanisms(), mechanism) {
		return nil, smtp.ErrAuthUnknownMechanism
	}
	check := func(user, password string) error {
		if known, ok := s.conn.server.config.Users[user]; !ok || known != password {
			return smtp.ErrAuthFailed
		}
		s.user = user
		return nil
	}
	switch mechanism {
	case "PLAIN":
		return sasl.NewPlainServer(func(_, user, password string) error { return check(user, password) }), nil
	case "LOGIN":
		return &login{check: check}, nil
	case "CRAM-MD5":
		return &cramMD5{session: s}, nil
	case "SCRAM-SHA-256":
		return &scram{session: s}, nil
	}
	return nil, smtp.ErrAuthUnknownMechanism
}
