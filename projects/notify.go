package projects

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline/inbox"
)

// A notice tells people that something has happened.
type notice struct {
	Kind  string
	To    []int64 // people; nobody: nothing happens
	Group string  // project:ID or chat:ID
	Link  string
	Cause string // task:ID, message:ID, invitation:ID or project:ID
	Key   string // who has a notification with this key gets no other
	Data  noticeData
}

// noticeData is what kinds' templates and the page make words of.
type noticeData struct {
	Actor      string `json:"actor"` // their name
	ActorID    int64  `json:"actor_id,omitempty"`
	Project    string `json:"project"` // its name
	ProjectID  int64  `json:"project_id,omitempty"`
	Task       string `json:"task,omitempty"`    // its title
	Subject    string `json:"subject,omitempty"` // of the conversation
	Excerpt    string `json:"excerpt,omitempty"` // of the message, as plain text
	GroupTitle string `json:"group_title"`       // what mails gather it under
	Seq        int64  `json:"seq,omitempty"`     // of the message in its conversation
}

// notify puts a notice into inboxes when the transaction commits. It returns the notifications' ids in the order of the people.
func (s *Store) notify(ctx context.Context, tx pgx.Tx, n notice) ([]int64, error) {
	if len(n.To) == 0 {
		return nil, nil
	}
	data, err := json.Marshal(n.Data)
	if err != nil {
		return nil, fmt.Errorf("notification %s: %w", n.Kind, err)
	}
	users := make([]string, len(n.To))
	for i, id := range n.To {
		users[i] = user(id)
	}
	return inbox.NotifyTx(ctx, tx, inbox.Notification{
		Users: users, Kind: n.Kind, Data: data, Group: n.Group, Link: n.Link, Cause: n.Cause, DedupeKey: n.Key,
	})
}

// taskNotice is a notice about a task. It has no key, which would cost the database a look at each inbox: the task's row is locked, and
// what is repeated changes nothing, so nobody is told twice.
func taskNotice(kind string, a *access, t *Task, to []int64) notice {
	return notice{
		Kind: kind, To: to, Group: topic("project", t.ProjectID), Cause: topic("task", t.ID),
		Link: fmt.Sprintf("/projects/%d?task=%d", t.ProjectID, t.ID),
		Data: noticeData{
			Actor: a.actor, ActorID: a.person, Project: a.name, ProjectID: t.ProjectID, Task: t.Title, GroupTitle: a.name,
		},
	}
}

// retract removes what was notified because of something.
func retract(ctx context.Context, tx pgx.Tx, what inbox.Retraction) error {
	_, err := inbox.RetractTx(ctx, tx, what)
	return err
}

// user is a person's id where Trunkline asks for a user's.
func user(person int64) string { return strconv.FormatInt(person, 10) }

// topic names something by what it is and its id: project:7.
func topic(what string, id int64) string { return what + ":" + strconv.FormatInt(id, 10) }
