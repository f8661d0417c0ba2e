package smtp

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/textproto"
	"regexp"
	"strings"
	"unicode"

	"github.com/trunkline/trunkline/digest/mail"
)

// A reply is a server's answer that says no.
type reply struct {
	code     int
	enhanced string // such as 5.1.1, "" if it gives none
	text     string // on one line, without code
}

var enhancedCode = regexp.MustCompile(`^[245]\.\d{1,3}\.\d{1,3}\b`)

// replyIn finds the answer in an error of the client's.
func (s *Sender) replyIn(err error) (reply, bool) {
	var said *textproto.Error
	if !errors.As(err, &said) {
		return reply{}, false
	}
	return s.reply(said.Code, said.Msg), true
}

func (s *Sender) reply(code int, text string) reply {
	return reply{code: code, enhanced: enhancedCode.FindString(text), text: s.readable(text)}
}

// maxReply is how much of an answer is quoted, in bytes.
const maxReply = 500

// readable is what a server said, or what went wrong, as it may be shown: on one line, and without the password, which servers
// quote when they take it for a command.
func (s *Sender) readable(text string) string {
	for _, secret := range s.secrets {
		text = strings.ReplaceAll(text, secret, "…")
	}
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) }), " ")
	if len(text) > maxReply {
		text = strings.ToValidUTF8(text[:maxReply], "") + "…"
	}
	return text
}

// secretsOf are the forms in which a password is sent.
func secretsOf(o *Options) []string {
	if o.Password == "" {
		return nil
	}
	encode := base64.StdEncoding.EncodeToString
	return []string{
		encode([]byte("\x00" + o.Username + "\x00" + o.Password)), encode([]byte(o.Password)), o.Password,
	}
}

// fault makes a SendError of an answer.
func (r reply) fault(step, to string, server string) *mail.SendError {
	blame := r.blame(step, to)
	return &mail.SendError{
		Step: step, Blame: blame, Permanent: r.code/100 == 5, Code: r.code, Enhanced: r.enhanced,
		Err: fmt.Errorf("%s answered: %d %s", server, r.code, r.text),
	}
}

// blame finds out whose fault it is that the server said no.
func (r reply) blame(step, to string) mail.Blame {
	if r.code == 421 || (r.code/100 != 4 && r.code/100 != 5) {
		return mail.BlameServer // it goes away, or speaks another protocol
	}
	switch step {
	case stepMail:
		// The sender's address is always the same, and so is who we are: the next mail would fare no better, unless it is shorter.
		if r.code == 552 || strings.HasSuffix(r.enhanced, ".3.4") {
			return mail.BlameMessage
		}
		return mail.BlameServer
	case stepRcpt:
		if r.code/100 == 5 && r.meansUs(to) {
			return mail.BlameServer
		}
		return mail.BlameRecipient
	case stepData, stepBody, stepDot:
		return r.blameText()
	default:
		return mail.BlameServer
	}
}

// meansUs tells whether a 5xx answer to RCPT refuses us rather than the recipient: many servers judge the client, its name, the
// sender and the relaying only when the recipient comes.
func (r reply) meansUs(to string) bool {
	switch r.code {
	case 500, 502, 503, 504, 530, 534, 535, 538:
		return true // out of order, our name, authentication
	}
	class, detail, _ := strings.Cut(strings.TrimPrefix(r.enhanced, "5."), ".")
	switch {
	case r.enhanced == "":
		// Without an enhanced code only the text tells. The recipient is often quoted in it, and may be called anything.
		text := strings.ReplaceAll(strings.ToLower(r.text), strings.ToLower(to), "")
		return refusesRelaying.MatchString(text)
	case class == "7":
		return true // policy
	case class == "1":
		return detail == "7" || detail == "8" // the sender's address
	}
	return false
}

var refusesRelaying = regexp.MustCompile(
	`\brelaying\b|\brelay (access )?(not|denied|refused|prohibited)|unable to relay|not .{0,20}\brelay\b|` +
		`authentication (is )?(required|needed)|not authenticated|must authenticate|authenticate first`)

// blameText judges an answer to the mail's text.
func (r reply) blameText() mail.Blame {
	class, detail, _ := strings.Cut(r.enhanced[min(2, len(r.enhanced)):], ".")
	switch {
	case r.code/100 == 4:
		if r.code == 452 || class == "3" {
			return mail.BlameServer // its disk is full, or it is ill
		}
		return mail.BlameMessage
	case class == "1" && detail != "7" && detail != "8", class == "2" && (detail == "1" || detail == "2"):
		return mail.BlameRecipient // there is but one: its mailbox isn't there, is disabled or full
	case r.code == 552 || r.code == 554:
		return mail.BlameMessage
	case r.code < 505, r.code == 530, r.code == 534, r.code == 535, r.code == 538:
		return mail.BlameServer // out of order, or not without a login
	default:
		return mail.BlameMessage
	}
}
