package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"github.com/trunkline/trunkline/inbox"
)

// maxNotified is how many users one request can notify.
const maxNotified = 10_000

// decodeNotification reads the body of a request to notify. It is read by hand because the data is to stay as it was sent: large
// numbers, names given twice, spaces.
func decodeNotification(body []byte) (inbox.Notification, error) {
	if !utf8.Valid(body) {
		return inbox.Notification{}, errors.New("the body is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	var n inbox.Notification
	const example = `{"users": ["ann"], "kind": "task.completed"}`
	err := object(d, "the body", example, func(name string) error { return notificationField(d, name, &n) })
	if err == nil {
		if _, more := d.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("something follows the JSON object: send one notification, for one user or many")
		}
	}
	switch {
	case err != nil:
		return inbox.Notification{}, err
	case len(n.Users) == 0:
		return inbox.Notification{}, errors.New(`users is missing or empty: name whom to notify, as in "users": ["ann"]`)
	case n.Kind == "":
		return inbox.Notification{}, errors.New(`kind is missing: say what has happened, as in "kind": "task.completed"`)
	}
	return n, nil
}

func notificationField(d *json.Decoder, name string, n *inbox.Notification) error {
	switch name {
	case "users":
		return users(d, &n.Users)
	case "data":
		return syntax(d.Decode(&n.Data))
	case "kind":
		return text(d, name, &n.Kind)
	case "group":
		return textOrNull(d, name, &n.Group)
	case "cause":
		return textOrNull(d, name, &n.Cause)
	case "link":
		return textOrNull(d, name, &n.Link)
	case "dedupe_key":
		return textOrNull(d, name, &n.DedupeKey)
	case "expires_at":
		var given string
		if err := textOrNull(d, name, &given); err != nil || given == "" {
			return err
		}
		at, err := time.Parse(time.RFC3339, given)
		if err != nil {
			return fmt.Errorf("expires_at %q is no time: write it as 2027-01-31T12:00:00Z", clip(given))
		}
		n.ExpiresAt = at
		return nil
	}
	return fmt.Errorf("there is no field %q: a notification has users, kind, data, group, cause, link, dedupe_key and expires_at",
		clip(name))
}

// users reads ids.
func users(d *json.Decoder, into *[]string) error {
	if t, err := d.Token(); err != nil {
		return syntax(err)
	} else if t != json.Delim('[') {
		return errors.New(`users is no array: write one even for a single user, as in "users": ["ann"]`)
	}
	*into = []string{}
	for d.More() {
		if len(*into) == maxNotified {
			return fmt.Errorf("there are more than %d users: notify them in several requests", maxNotified)
		}
		var user string
		if err := text(d, fmt.Sprintf("user %d", len(*into)), &user); err != nil {
			return err
		}
		*into = append(*into, user)
	}
	_, err := d.Token()
	return syntax(err)
}

// textOrNull reads what may be left out, or be null.
func textOrNull(d *json.Decoder, name string, into *string) error {
	t, err := d.Token()
	if err != nil {
		return syntax(err)
	}
	switch value := t.(type) {
	case nil:
	case string:
		*into = value
	default:
		return fmt.Errorf("%s is no text", name)
	}
	return nil
}
