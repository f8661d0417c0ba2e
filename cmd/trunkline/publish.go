package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/trunkline/trunkline"
)

type publishCmd struct {
	Channel string `arg:"" help:"Channel to publish to."`
	Payload string `arg:"" optional:"" name:"json" help:"Payload, a JSON value; - or nothing reads it from standard input."`
	Key     string `placeholder:"KEY" help:"Idempotency key: the same key with the same payload publishes once."`
	Sender  string `placeholder:"WHO" help:"Who says so, such as a user's id."`
	JSON    bool   `name:"json" help:"Print the id as a JSON object."`
}

func (*publishCmd) Help() string {
	return `It prints the id of the message. No server needs to run: what is published is delivered when one does.

    trunkline publish broadcast '{"hello": "world"}'
    trunkline publish broadcast '"a text has quotes of its own"'
    trunkline publish project:42 - <task.json
    trunkline publish orders '{"order": 7}' --key order-7 --sender ann

A program publishes with trunkline.publish(channel, payload) in its own transaction.`
}

// checkText says why standard input can't be JSON because of its encoding.
func checkText(input []byte) error {
	if bytes.HasPrefix(input, []byte("\xef\xbb\xbf")) {
		return usagef("standard input begins with a byte order mark (BOM), which JSON has not: save it as UTF-8 without one")
	}
	for at, rest := 0, input; len(rest) > 0; {
		r, size := utf8.DecodeRune(rest)
		if r == utf8.RuneError && size == 1 {
			return usagef("standard input is not UTF-8: byte %d is 0x%02x; convert it, such as with iconv -t UTF-8", at+1, rest[0])
		}
		at, rest = at+size, rest[size:]
	}
	return nil
}

// maxInput is more than any payload limit allows, in bytes.
const maxInput = 64<<20 + 1

func (c *publishCmd) Run(ctx context.Context, a *app) error {
	payload := []byte(c.Payload)
	if c.Payload == "" || c.Payload == "-" {
		if c.Payload == "" && isTerminal(a.stdin) {
			return usagef(`no payload is given: write a JSON value behind the channel, such as '"hello"', or - to type it`)
		}
		input, err := io.ReadAll(io.LimitReader(a.stdin, maxInput))
		if err != nil {
			return fmt.Errorf("read standard input: %w", err)
		}
		if err := checkText(input); err != nil {
			return err
		}
		// Blanks around it are the shell's.
		if payload = bytes.TrimSpace(input); len(payload) == 0 {
			return usagef("standard input is empty: the payload is a JSON value, such as null")
		}
	}
	conn, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer closeSoon(ctx, conn)
	id, err := trunkline.PublishTx(ctx, conn, trunkline.Publication{Channel: c.Channel, Payload: payload, Key: c.Key, Sender: c.Sender})
	if err != nil {
		return a.withRole(ctx, conn, err)
	}
	if c.JSON {
		return a.printJSON(struct {
			ID      int64  `json:"id"`
			Channel string `json:"channel"`
		}{id, c.Channel})
	}
	_, err = fmt.Fprintln(a.stdout, id)
	return err
}
