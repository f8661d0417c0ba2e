package projects

import (
	"testing"
	"time"

	"github.com/trunkline/trunkline/inbox"
)

// Every notification reads as a sentence, and no kind is mailed to somebody who isn't there any more.
func TestKinds(t *testing.T) {
	s := newStore(t)
	ctx := testContext(t)
	m := newTeam(t, s.pool)
	all := noticeData{Actor: "Lea", Project: "Website", Task: "Paint {it}", Subject: "General", Excerpt: "Which red?"}
	sentences := map[string]string{
		KindCompleted: "Lea completed “Paint {it}”", KindAssigned: "Lea assigned “Paint {it}” to you", KindReopened: "Lea reopened “Paint {it}”",
		KindQuestion: "Lea asked in “General”: Which red?", KindAnswer: "Lea answered in “General”: Which red?",
		KindMention: "Lea mentioned you in “General”: Which red?", KindInvitation: "Lea invited you to “Website”", KindFinished: "Lea finished “Website”",
	}
	for _, delay := range []*time.Duration{nil, ptr(3 * time.Second), nil} { // the last one takes the second one's back
		if err := SetKinds(ctx, s.pool, delay); err != nil {
			t.Fatal(err)
		}
		registered, err := inbox.Kinds(ctx, s.pool)
		if err != nil {
			t.Fatal(err)
		}
		if len(registered) != len(sentences) {
			t.Errorf("%d kinds are registered", len(registered))
		}
		for i, kind := range registered {
			if sentences[kind.Name] == "" || kind.Title == "" || kind.Title == kind.Name || kind.Authorize != "projects.may" {
				t.Errorf("%+v", kind)
			}
			if delay != nil && *kind.Delay != *delay || delay == nil && *kind.Delay < time.Minute {
				t.Errorf("%s is mailed after %v", kind.Name, kind.Delay)
			}
			if i > 0 && delay == nil && kind.Name == registered[i-1].Name {
				t.Errorf("%s is there twice", kind.Name)
			}
		}
	}
	for kind, sentence := range sentences {
		tx, err := s.pool.Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.notify(ctx, tx, notice{Kind: kind, To: []int64{m.Lead}, Group: topic("project", m.Project), Link: "/", Data: all}); err != nil {
			t.Fatal(err)
		}
		if ids, err := s.notify(ctx, tx, notice{Kind: kind}); ids != nil || err != nil {
			t.Errorf("to nobody: %v, %v", ids, err)
		}
		if err := tx.Commit(ctx); err != nil {
			t.Fatal(err)
		}
		got := scan[string](t, s.pool, `SELECT trunkline.item_text(k.template, k.title, n.data) FROM trunkline.notification n JOIN trunkline.kind k ON k.name = n.kind WHERE n.kind = $1`, kind)
		if got != sentence {
			t.Errorf("%s says %q, not %q", kind, got, sentence)
		}
	}
}
