package trunkline

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Revoke takes away what a user was allowed in a channel, or everywhere if channel is "": tokens issued up to now no longer
// count there, and the namespace's function is asked anew. Connected clients are unsubscribed, or disconnected if channel is
// "". Inside a transaction it takes effect, on every node, when that commits.
//
// Errors: *[ArgumentError] for what is no user or channel; *[PrivilegeError] if the role may not; *[SchemaError].
func Revoke(ctx context.Context, db Tx, user, channel string) error {
	return administer(ctx, db, "revoke", "SELECT trunkline.revoke($1, $2)", named{"user", user}, named{"channel", channel})
}

// RevokeToken makes one token worthless, by its jti claim, and closes connections made with it. See [Revoke].
func RevokeToken(ctx context.Context, db Tx, jti string) error {
	return administer(ctx, db, "revoke", "SELECT trunkline.revoke_token($1)", named{"jti", jti})
}

// DisconnectUser closes the connections of a user, or only the one with a client id if client isn't "". Whose token is still
// good can connect again. See [Revoke].
func DisconnectUser(ctx context.Context, db Tx, user, client string) error {
	return administer(ctx, db, "disconnect", "SELECT trunkline.disconnect($1, $2)", named{"user", user}, named{"client", client})
}

// UnsubscribeUser ends a user's subscriptions to a channel. Who is still allowed can subscribe again. See [Revoke].
func UnsubscribeUser(ctx context.Context, db Tx, user, channel string) error {
	return administer(ctx, db, "unsubscribe", "SELECT trunkline.unsubscribe($1, $2)", named{"user", user}, named{"channel", channel})
}

// named is an argument and what it is called.
type named struct{ name, value string }

// administer calls a function whose arguments are NULL where they are empty.
func administer(ctx context.Context, db Tx, what, sql string, args ...named) error {
	values := make([]any, len(args))
	for i, arg := range args {
		if !utf8.ValidString(arg.value) || strings.ContainsRune(arg.value, 0) {
			return &ArgumentError{
				Argument: arg.name, Problem: fmt.Sprintf("%s %q is not UTF-8 or contains a NUL", arg.name, clip(arg.value)),
				Fix: "Give 1 to 255 bytes without control characters",
			}
		}
		values[i] = orNull(arg.value)
	}
	_, err := db.Exec(ctx, sql, values...)
	return accessError(what, err)
}
