package projects

import (
	"sync/atomic"
	"testing"
)

// keys makes keys of messages that no other has.
var keys atomic.Int64

func TestSmoke(t *testing.T) {
	s := newStore(t)
	m := newTeam(t, s.pool)
	talk := newConversation(t, s.pool, m.Project, "General")
	t.Logf("%+v", post(t, s, m.Customer, talk, "Hello **you** @[Stan](person:4)"))
	t.Log(published(t, s.pool, topic("chat", talk)))
}
