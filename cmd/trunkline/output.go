package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/trunkline/trunkline"
)

// logger writes to stderr what --log-level asks for.
func (a *app) logger(fallback slog.Level) *slog.Logger {
	level := fallback
	if a.LogLevel != "auto" && a.LogLevel != "" {
		_ = level.UnmarshalText([]byte(a.LogLevel)) // one of those that the flag allows
	}
	options := &slog.HandlerOptions{Level: level}
	if a.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(a.stderr, options))
	}
	return slog.New(slog.NewTextHandler(a.stderr, options))
}

// colors are the terminal's, or none.
type colors bool

// colorsOf tells whether w takes colors: a terminal, unless NO_COLOR says otherwise.
func colorsOf(w io.Writer) colors {
	return colors(isTerminal(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb")
}

func (c colors) paint(code, text string) string {
	if !c || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (c colors) faint(text string) string  { return c.paint("2", text) }
func (c colors) bold(text string) string   { return c.paint("1", text) }
func (c colors) blue(text string) string   { return c.paint("36", text) }
func (c colors) green(text string) string  { return c.paint("32", text) }
func (c colors) yellow(text string) string { return c.paint("33", text) }
func (c colors) red(text string) string    { return c.paint("31", text) }

// isTerminal tells whether a stream is a terminal: a character device that isn't /dev/null.
func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(info, null)
}

// oneMessage is a message as --json prints it.
type oneMessage struct {
	Channel  string          `json:"channel"`
	Epoch    string          `json:"epoch"`
	Seq      int64           `json:"seq,omitempty"`
	Position int64           `json:"position,omitempty"`
	Since    string          `json:"since,omitempty"` // what --since takes to go on behind it
	ID       int64           `json:"id,omitempty"`
	At       string          `json:"at"`
	Sender   *string         `json:"sender"`
	Key      string          `json:"key,omitempty"`
	Signal   bool            `json:"signal,omitempty"`
	Payload  json.RawMessage `json:"payload"`
}

// printMessageJSON prints a message as a JSON object on a line. The payload stands in it byte for byte, except that line ends
// are blanks: JSON allows them only between tokens.
func (a *app) printMessageJSON(m *trunkline.Message) error {
	line := oneMessage{
		Channel: m.Channel, Epoch: m.Epoch, Seq: m.Seq, Position: m.Position, ID: m.ID,
		At: m.CreatedAt.UTC().Format("2006-01-02T15:04:05.000000Z07:00"), Key: m.Key, Signal: m.Signal, Payload: json.RawMessage("null"),
	}
	if m.Sender != "" {
		line.Sender = &m.Sender
	}
	if !m.Signal {
		line.Since = m.LogPosition().String()
	}
	// The payload comes last. An encoder would take the blanks between its tokens away.
	var b bytes.Buffer
	if err := encodeJSON(&b, line); err != nil {
		return err
	}
	b.Truncate(b.Len() - len("null}\n"))
	for _, c := range m.Payload {
		if c == '\n' || c == '\r' {
			c = ' '
		}
		b.WriteByte(c)
	}
	b.WriteString("}\n")
	_, err := a.stdout.Write(b.Bytes())
	return err
}

func encodeJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}

func (a *app) printJSON(value any) error {
	return encodeJSON(a.stdout, value)
}

// printMessage prints a message on a line for people: when, where, number, who, what.
func (a *app) printMessage(m *trunkline.Message, layout string, c colors) error {
	number := "#" + strconv.FormatInt(m.Seq, 10)
	if m.Signal {
		number = "signal"
	}
	sender := m.Sender
	if sender == "" {
		sender = "-"
	}
	_, err := fmt.Fprintf(a.stdout, "%s %s %s %s %s\n", c.faint(m.CreatedAt.Local().Format(layout)), c.blue(visible(m.Channel)),
		c.bold(number), c.green(visible(sender)), visible(string(m.Payload)))
	return err
}

const (
	timeLayout     = "15:04:05.000"
	dateTimeLayout = "2006-01-02 15:04:05.000"
)

// layoutOf shows the date of what isn't of today.
func layoutOf(at, now time.Time) string {
	if at.Local().Format(time.DateOnly) != now.Local().Format(time.DateOnly) {
		return dateTimeLayout
	}
	return timeLayout
}

// visible makes control characters visible, so that what a stranger sent stays on its line and gives the terminal no
// orders. Line ends become blanks.
func visible(s string) string {
	if !strings.ContainsFunc(s, unicode.IsControl) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\n' || r == '\r' || r == '\t':
			b.WriteByte(' ')
		case unicode.IsControl(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// note tells people something beside the output.
func (a *app) note(format string, args ...any) {
	_, _ = fmt.Fprintf(a.stderr, format+"\n", args...) // where nobody reads, nobody is told
}

func age(d time.Duration) string {
	if d < 0 {
		d = 0
	}
	switch {
	case d < time.Minute:
		return d.Round(time.Second).String()
	case d < time.Hour:
		return d.Round(time.Second).String()
	}
	return d.Round(time.Minute).String()
}
