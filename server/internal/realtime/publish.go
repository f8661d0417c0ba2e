package realtime

import (
	"context"
	"errors"

	"github.com/centrifugal/centrifuge"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/server/internal/auth"
)

// A publishing is a message that a client wants to publish.
type publishing struct {
	event centrifuge.PublishEvent
	cb    centrifuge.PublishCallback
}

// onPublish publishes a client's message where it may: as everybody's, in the database, with the user as its sender. A client's
// messages are published in the order it sent them, one after the other; those of different clients share transactions.
func (s *session) onPublish(e centrifuge.PublishEvent, cb centrifuge.PublishCallback) {
	s.mu.Lock()
	if len(s.toPublish) >= maxPublishing {
		s.mu.Unlock()
		s.node.metrics.refuse(reasonPublish)
		cb(centrifuge.PublishReply{}, tooMany("too many messages wait to be published: wait for some"))
		return
	}
	s.toPublish = append(s.toPublish, publishing{e, cb})
	begin := !s.publishing
	s.publishing = true
	s.mu.Unlock()
	if begin {
		s.node.goRun(s.publishAll)
	}
}

// publishAll publishes until nothing waits.
func (s *session) publishAll() {
	for {
		s.mu.Lock()
		if len(s.toPublish) == 0 {
			s.toPublish, s.publishing = nil, false
			s.mu.Unlock()
			return
		}
		next := s.toPublish[0]
		s.toPublish = s.toPublish[1:]
		s.mu.Unlock()
		if s.client.Context().Err() != nil {
			continue // nobody waits for an answer, or would know what became of it
		}
		if err := s.publish(next.event); err != nil {
			next.cb(centrifuge.PublishReply{}, err)
			continue
		}
		next.cb(centrifuge.PublishReply{Result: &centrifuge.PublishResult{}}, nil)
	}
}

func (s *session) publish(e centrifuge.PublishEvent) error {
	// Not the connection's context: an insert that is under way when the client leaves has an outcome all the same.
	ctx, cancel := context.WithTimeout(s.node.life, patience)
	defer cancel()
	if err := s.may(ctx, e.Channel, auth.Publish); err != nil {
		return err
	}
	id := s.who()
	perSecond := s.node.engine.Namespace(e.Channel).PublishRate
	if perSecond <= 0 {
		perSecond = s.node.cfg.Limits.PublishRate
	}
	if !s.node.rates.allow(rateKey{trunkline.NamespaceOf(e.Channel), s.payer(id)}, perSecond) {
		s.node.metrics.refuse(reasonPublish)
		return tooMany("more messages than this user may publish: slow down")
	}
	_, err := s.node.engine.Publish(ctx, trunkline.Publication{Channel: e.Channel, Payload: e.Data, Sender: id.User})
	return s.node.publishError(e.Channel, err)
}

// payer is on whose account messages are counted.
func (s *session) payer(id *auth.Identity) string {
	if id.User == "" {
		return "client " + s.id
	}
	return "user " + id.User
}

func (n *Node) publishError(channel string, err error) error {
	var argument *trunkline.ArgumentError
	var pg *pgconn.PgError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &argument):
		return badRequest(argument.Error())
	case errors.As(err, &pg) && len(pg.Code) == 5 && pg.Code[:2] == "22": // the data, such as its size
		return badRequest(pg.Message)
	}
	n.log.Warn("a client's message can't be published", "channel", channel, "error", err)
	return tryAgain("the message could not be published, or that isn't known: try again")
}
