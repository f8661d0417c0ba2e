package projects

import (
	"context"
	"fmt"
	"time"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/inbox"
)

// The kinds of notifications.
const (
	KindCompleted  = "task.completed"
	KindAssigned   = "task.assigned"
	KindReopened   = "task.reopened"
	KindQuestion   = "question.asked"
	KindAnswer     = "answer.given"
	KindMention    = "mention"
	KindInvitation = "invitation"
	KindFinished   = "project.finished"
)

// kinds are all of them, each with how long it may stay unread before it is mailed: what somebody waits for goes sooner.
var kinds = []struct {
	name, title, template string
	delay                 time.Duration
}{
	{KindCompleted, "Task completed", "{actor} completed “{task}”", 4 * time.Hour},
	{KindAssigned, "Task assigned to you", "{actor} assigned “{task}” to you", time.Hour},
	{KindReopened, "Task reopened", "{actor} reopened “{task}”", 2 * time.Hour},
	{KindQuestion, "Question", "{actor} asked in “{subject}”: {excerpt}", 30 * time.Minute},
	{KindAnswer, "Answer", "{actor} answered in “{subject}”: {excerpt}", time.Hour},
	{KindMention, "Mention", "{actor} mentioned you in “{subject}”: {excerpt}", 15 * time.Minute},
	{KindInvitation, "Invitation", "{actor} invited you to “{project}”", time.Hour},
	{KindFinished, "Project finished", "{actor} finished “{project}”", 4 * time.Hour},
}

// SetKinds registers all kinds of notifications. With a delay, all are mailed after that; nil: each after its own. Before a mail
// goes out, projects.may is asked whether the user still takes part: so nobody is mailed about a project they have left, and an
// invitation, which goes out as a letter of its own, isn't mailed a second time.
//
// It is for the owner of the database's schemas. Errors are those of [inbox.SetKind].
func SetKinds(ctx context.Context, db trunkline.Tx, delay *time.Duration) error {
	for _, k := range kinds {
		kind := inbox.Kind{Name: k.name, Title: k.title, Template: k.template, Delay: &k.delay, Authorize: "projects.may"}
		if delay != nil {
			kind.Delay = delay
		}
		if err := inbox.SetKind(ctx, db, kind); err != nil {
			return fmt.Errorf("kind %s: %w", k.name, err)
		}
	}
	return nil
}
