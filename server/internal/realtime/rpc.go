package realtime

import (
	"context"
	"errors"
	"runtime/debug"

	"github.com/centrifugal/centrifuge"
)

// onRPC has the embedding program answer a client's call.
func (s *session) onRPC(e centrifuge.RPCEvent, cb centrifuge.RPCCallback) {
	if s.node.cfg.RPC == nil {
		cb(centrifuge.RPCReply{}, centrifuge.ErrorMethodNotFound)
		return
	}
	s.work(func(err error) { cb(centrifuge.RPCReply{}, err) }, func(ctx context.Context) {
		reply, err := s.call(ctx, e)
		cb(reply, err)
	})
}

// call runs the program's function. Its panic is the end of the call, not of the server.
func (s *session) call(ctx context.Context, e centrifuge.RPCEvent) (reply centrifuge.RPCReply, err error) {
	n := s.node
	defer func() {
		if r := recover(); r != nil {
			n.log.Error("a method panicked", "method", clip(e.Method, 80), "panic", r, "stack", string(debug.Stack()))
			err = centrifuge.ErrorInternal
		}
	}()
	result, err := n.cfg.RPC(ctx, RPCRequest{User: s.who().User, ClientID: s.id, Method: e.Method, Data: e.Data})
	var told *RPCError
	switch {
	case err == nil:
		return centrifuge.RPCReply{Data: oneLine(result)}, nil
	case errors.As(err, &told):
		return reply, &centrifuge.Error{Code: told.Code, Message: told.Message, Temporary: told.Temporary}
	}
	n.log.Warn("a method failed", "method", clip(e.Method, 80), "error", err)
	return reply, centrifuge.ErrorInternal
}
