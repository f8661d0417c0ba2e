package projects

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
)

// mostKey is how many bytes a client key may have.
const mostKey = 64

// checkKey takes the key that somebody gives to what they make. What says what that is to people, as in "a task".
func checkKey(what, key string) error {
	if key == "" || len(key) > mostKey || !utf8.ValidString(key) || strings.ContainsFunc(key, unicode.IsControl) {
		return &InvalidError{Field: "key", Problem: fmt.Sprintf("“%s” can't be the key of %s: give 1 to %d bytes of text, such as a UUID.", clip(printable(key)), what, mostKey)}
	}
	return nil
}

// checkOptionalKey is checkKey for what needs none: nil.
func checkOptionalKey(what string, key *string) error {
	if key == nil {
		return nil
	}
	return checkKey(what, *key)
}

// A keyed thing is one that people make with a key of theirs.
type keyed struct {
	what string // for people
	find string // $1: who made it, $2: with which key → its id and its project's
}

var (
	keyedProject      = keyed{"a project", `SELECT id, id FROM projects.project WHERE created_by = $1 AND client_key = $2`}
	keyedTask         = keyed{"a task", `SELECT id, project_id FROM projects.task WHERE created_by = $1 AND client_key = $2`}
	keyedMilestone    = keyed{"a milestone", `SELECT id, project_id FROM projects.milestone WHERE created_by = $1 AND client_key = $2`}
	keyedConversation = keyed{"a conversation", `SELECT id, project_id FROM projects.conversation WHERE created_by = $1 AND client_key = $2`}
)

// made finds what somebody has made with the same key in a project (0: in any), and returns its id; 0 if there is none, or no key.
//
// Of two that look at the same moment, both may find nothing: then the index of the keys refuses one, and [Store.write] has it look
// again.
func (k keyed) made(ctx context.Context, tx pgx.Tx, person, project int64, key *string) (id int64, err error) {
	if key == nil {
		return 0, nil
	}
	var where int64
	err = tx.QueryRow(ctx, k.find, person, *key).Scan(&id, &where)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("look for %s with the same key: %w", k.what, err)
	case project != 0 && where != project:
		return 0, &InvalidError{Field: "key", Problem: fmt.Sprintf("“%s” is the key of %s in another project: give each one a key of its own.", clip(*key), k.what)}
	}
	return id, nil
}
