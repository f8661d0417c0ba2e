package auth

import "strings"

// inboxPrefix is what the channel of a user's inbox begins with: inbox:ann is ann's.
const inboxPrefix = "inbox:"

// owns tells whether a channel is that of somebody's own inbox, which they may follow and read the history of without anybody
// saying so. Nothing is published there by it: what an inbox announces is Trunkline's to say.
func owns(id *Identity, channel string, action Action) bool {
	if id.User == "" || id.Key != "" || (action != Subscribe && action != History) {
		return false
	}
	user, ok := strings.CutPrefix(channel, inboxPrefix)
	return ok && user == id.User // byte for byte, as tokens and channels are compared everywhere
}

// Inbox tells whether an identity may read a user's inbox and act for the user in it: nil or a *Refusal. That may the user, with a
// token that names them, and an API key with the scope admin. A revocation for the channel of the inbox counts here too.
func (g *Gate) Inbox(id *Identity, user string) error {
	if g.open || id.Open {
		return nil
	}
	now := g.state.Load()
	if now == nil {
		return errNotLoaded
	}
	if err := g.check(now, id, g.now()); err != nil {
		return err
	}
	switch {
	case isAdmin(id):
		return nil
	case id.Key != "":
		return refuse(Denied, "API key %q may not use the inboxes of users: that takes the scope admin", id.Key)
	case id.User == "":
		return refuse(BadToken, `an inbox is a user's: a token is needed that names one in its claim "sub"`)
	case id.User != user:
		return refuse(Denied, "user %q may use no inbox but their own", clip(id.User))
	case now.revoked.channel(id.User, inboxPrefix+id.User, id.IssuedAt):
		return refuse(Denied, "leave of user %q to use their inbox was revoked", clip(id.User))
	}
	return nil
}

// Notify tells whether an identity may notify users, and retract what they were notified of: nil or a *Refusal. That may API keys
// with the scope publish.
func (g *Gate) Notify(id *Identity) error {
	if g.open || id.Open {
		return nil
	}
	now := g.state.Load()
	if now == nil {
		return errNotLoaded
	}
	if err := g.check(now, id, g.now()); err != nil {
		return err
	}
	if id.Key != "" && permits(id.Scopes, Publish) {
		return nil
	}
	return refuse(Denied, "only an API key with the scope publish may notify users")
}
