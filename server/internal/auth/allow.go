package auth

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/trunkline/trunkline"
)

// reserved is what channels of Trunkline's own begin with.
const reserved = "trunkline:"

func isReserved(channel string) bool { return strings.HasPrefix(channel, reserved) }

func isAdmin(id *Identity) bool { return id.Key != "" && slices.Contains(id.Scopes, ScopeAdmin) }

// Allow tells whether an identity may do something with a channel: nil or a *Refusal.
//
// Keys go by their scopes. For everybody else the token's caps or the namespace's function allows, unless the namespace says
// that nobody may; and channels of Trunkline's own are closed. The channel of a user's own inbox needs neither. Caps are decided
// without a query.
func (g *Gate) Allow(ctx context.Context, id *Identity, channel string, action Action) error {
	if g.open || id.Open {
		return nil
	}
	if action.bit() == 0 {
		return refuse(Denied, "there is no action %q", clip(string(action)))
	}
	now := g.state.Load()
	if now == nil {
		return errNotLoaded
	}
	if err := g.check(now, id, g.now()); err != nil {
		return err
	}
	if err := trunkline.CheckChannel(channel); err != nil {
		return refuse(Denied, "%s", err)
	}
	if isReserved(channel) && !isAdmin(id) {
		return refuse(Denied, "channel %q is Trunkline's own", clip(channel))
	}
	if id.Key != "" {
		if permits(id.Scopes, action) {
			return nil
		}
		return refuse(Denied, "API key %q has no scope to %s %q", id.Key, action.verb(), clip(channel))
	}
	ns := g.namespace(channel)
	capsOnly := false
	if setting, ok := clientSetting(&ns, action); ok {
		if setting != nil && !*setting {
			return refuse(Denied, "namespace %q lets no client %s its channels", clip(ns.Name), action.verb())
		}
		capsOnly = setting == nil
	}
	if (owns(id, channel, action) || allows(id.compiled(), channel, action)) && !now.revoked.channel(id.User, channel, id.IssuedAt) {
		return nil
	}
	if capsOnly || ns.Authorize == "" || (id.User == "" && !ns.Anonymous) {
		return id.denied(channel, action)
	}
	allowed, err := g.functions.ask(ctx, &ns, id.User, channel, action)
	switch {
	case err != nil:
		return &Refusal{
			Code: Unavailable, err: err,
			Reason: fmt.Sprintf("whether you may %s %q couldn't be found out: try again", action.verb(), clip(channel)),
		}
	case !allowed:
		return id.denied(channel, action)
	}
	return nil
}

// clientSetting returns what a namespace says of an action that is closed to clients unless it says otherwise: nil for those
// whose token allows it. ok is false for the others.
func clientSetting(ns *trunkline.Namespace, action Action) (setting *bool, ok bool) {
	switch action {
	case Publish:
		return ns.Publish, true
	case Presence:
		return ns.Presence, true
	}
	return nil, false
}

// compiled returns the rules of an identity's caps. The gate's identities have them; one made by hand pays here.
func (id *Identity) compiled() []rule {
	if id.rules != nil || len(id.Caps) == 0 {
		return id.rules
	}
	rules, err := compileCaps(id.Caps)
	if err != nil {
		return nil
	}
	return rules
}

// denied says who may not do what, and no more: why is between the namespace's function and whoever wrote it.
func (id *Identity) denied(channel string, action Action) *Refusal {
	who := "an anonymous user"
	if id.User != "" {
		who = fmt.Sprintf("user %q", id.User)
	}
	return refuse(Denied, "%s may not %s %q", who, action.verb(), clip(channel))
}

// verb is an action as it stands before a channel.
func (a Action) verb() string {
	switch a {
	case Subscribe:
		return "subscribe to"
	case Publish:
		return "publish to"
	case History:
		return "read the history of"
	case Presence:
		return "see who is present in"
	}
	return string(a)
}
