package auth

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline"
)

// revocations are all rows of trunkline.revocation. They don't change once made.
type revocations struct {
	users  map[string]userRevocations
	tokens map[string]struct{} // by jti
}

// userRevocations say up to when a user's tokens were revoked.
type userRevocations struct {
	all      time.Time // zero: not
	channels map[string]time.Time
}

// A revocation is one row.
type revocation struct {
	User    string
	Channel string
	Token   string
	At      time.Time
}

func readRevocations(ctx context.Context, db trunkline.Tx) (*revocations, error) {
	rows, err := db.Query(ctx, "SELECT user_id, channel, jti, at FROM trunkline.revocation")
	if err != nil {
		return nil, err
	}
	made := &revocations{users: make(map[string]userRevocations), tokens: make(map[string]struct{})}
	var row revocation
	_, err = pgx.ForEachRow(rows, []any{&row.User, &row.Channel, &row.Token, &row.At}, func() error {
		made.add(row)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return made, nil
}

func (r *revocations) add(row revocation) {
	if row.Token != "" {
		r.tokens[row.Token] = struct{}{}
		return
	}
	user := r.users[row.User]
	if row.Channel == "" {
		user.all = row.At
	} else {
		if user.channels == nil {
			user.channels = make(map[string]time.Time)
		}
		user.channels[row.Channel] = row.At
	}
	r.users[row.User] = user
}

// token tells whether a token counts for nothing any more. issued is zero for one that doesn't say when it was made: it could
// be any old.
func (r *revocations) token(user, id string, issued time.Time) bool {
	if id != "" {
		if _, ok := r.tokens[id]; ok {
			return true
		}
	}
	return user != "" && reaches(r.users[user].all, issued)
}

// channel tells whether a token doesn't count for a channel any more.
func (r *revocations) channel(user, channel string, issued time.Time) bool {
	return user != "" && reaches(r.users[user].channels[channel], issued)
}

// reaches tells whether what was revoked at a time includes what was issued at another. iat is mostly in whole seconds: who gets
// a token in the same second, after the revocation, needs another one, which is the safe side.
func reaches(at, issued time.Time) bool { return !at.IsZero() && !issued.After(at) }

// since calls f with the users and channels, "" for all, of which more is revoked than in an older state.
func (r *revocations) since(old *revocations, f func(user, channel string)) {
	for name, user := range r.users {
		before := old.users[name]
		if user.all.After(before.all) {
			f(name, "")
			continue
		}
		for channel, at := range user.channels {
			if at.After(before.channels[channel]) {
				f(name, channel)
			}
		}
	}
}
