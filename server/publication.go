package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// maxBatch is how many messages one request may publish.
const maxBatch = 1000

// publishRequest is the body of a request to publish.
type publishRequest struct {
	list []publication
	many bool // it was {"messages": […]}
}

// publication is one message as it was sent. What it holds belongs to the request's body.
type publication struct {
	channel, sender, key string
	payload              json.RawMessage
}

// decodePublish reads a message, or {"messages": […]}. It is strict where encoding/json isn't, in the spelling of names and in
// names given twice, and leaves payloads as they are: neither large numbers nor spaces nor names given twice in them change.
func decodePublish(body []byte) (publishRequest, error) {
	d := json.NewDecoder(bytes.NewReader(body))
	var q publishRequest
	var one publication
	single := false
	err := object(d, "the body", publicationExample, func(name string) error {
		if name == "messages" {
			q.many = true
			return q.decodeMessages(d)
		}
		single = true
		return one.field(d, name)
	})
	if err == nil {
		if _, more := d.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("something follows the JSON object: send one object, many messages as {\"messages\": […]}")
		}
	}
	switch {
	case err != nil:
		return publishRequest{}, err
	case q.many && single:
		return publishRequest{}, errors.New("the body has both messages and the fields of a message: send one or the other")
	case q.many && len(q.list) == 0:
		return publishRequest{}, errors.New("messages is empty: send at least one")
	case q.many:
		return q, nil
	}
	if err := one.check("the message"); err != nil {
		return publishRequest{}, err
	}
	q.list = []publication{one}
	return q, nil
}

func (q *publishRequest) decodeMessages(d *json.Decoder) error {
	if t, err := d.Token(); err != nil {
		return syntax(err)
	} else if t != json.Delim('[') {
		return errors.New("messages is no array")
	}
	for d.More() {
		what := fmt.Sprintf("message %d", len(q.list))
		if len(q.list) == maxBatch {
			return fmt.Errorf("there are more than %d messages: send them in several requests", maxBatch)
		}
		var p publication
		if err := object(d, what, publicationExample, func(name string) error { return p.field(d, name) }); err != nil {
			return err
		}
		if err := p.check(what); err != nil {
			return err
		}
		q.list = append(q.list, p)
	}
	_, err := d.Token()
	return syntax(err)
}

func (p *publication) check(what string) error {
	switch {
	case p.channel == "":
		return fmt.Errorf("%s has no channel: send {\"channel\": \"project:42\", \"payload\": …}", what)
	case p.payload == nil:
		return fmt.Errorf("%s has no payload: any JSON value is one, null too", what)
	}
	return nil
}

// field reads one field of a message.
func (p *publication) field(d *json.Decoder, name string) error {
	switch name {
	case "channel":
		return text(d, name, &p.channel)
	case "sender":
		return text(d, name, &p.sender)
	case "key":
		return text(d, name, &p.key)
	case "payload":
		return syntax(d.Decode(&p.payload))
	}
	return fmt.Errorf("there is no field %q: a message has channel, payload, sender and key", clip(name))
}

func text(d *json.Decoder, name string, into *string) error {
	t, err := d.Token()
	if err != nil {
		return syntax(err)
	}
	value, ok := t.(string)
	if !ok {
		return fmt.Errorf("%s is no text", name)
	}
	*into = value
	return nil
}

const publicationExample = `{"channel": "project:42", "payload": {"done": 7}}`

// object reads an object, of which field reads the values, each name once.
func object(d *json.Decoder, what, example string, field func(name string) error) error {
	if t, err := d.Token(); err != nil {
		return syntax(err)
	} else if t != json.Delim('{') {
		return fmt.Errorf("%s is no JSON object, such as %s", what, example)
	}
	seen := map[string]bool{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return syntax(err)
		}
		name, _ := t.(string)
		if seen[name] {
			return fmt.Errorf("%s has %q twice", what, clip(name))
		}
		seen[name] = true
		if err := field(name); err != nil {
			return err
		}
	}
	_, err := d.Token()
	return syntax(err)
}

// syntax says that the body isn't JSON.
func syntax(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the body is no JSON: it ends too soon")
	}
	// It may repeat all of a number of millions of digits.
	return fmt.Errorf("the body is no JSON: %s", clip(err.Error()))
}
