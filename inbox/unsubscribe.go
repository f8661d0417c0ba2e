package inbox

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline"
)

// tokenBytes of randomness are in a token: 192 bits, so there is nothing to guess.
const tokenBytes = 24

// NewUnsubscribeToken makes a token for the links of a mail, 32 letters, digits, - and _, and its SHA-256, which is all that is
// stored: see [AddUnsubscribeToken].
func NewUnsubscribeToken() (token string, hash []byte) {
	var random [tokenBytes]byte
	_, _ = rand.Read(random[:]) // never fails
	token = base64.RawURLEncoding.EncodeToString(random[:])
	sum := sha256.Sum256([]byte(token))
	return token, sum[:]
}

// hashToken returns the SHA-256 of what may be a token, nil for what can't be one.
func hashToken(token string) []byte {
	if len(token) != base64.RawURLEncoding.EncodedLen(tokenBytes) {
		return nil
	}
	if _, err := base64.RawURLEncoding.Strict().DecodeString(token); err != nil {
		return nil
	}
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}

// AddUnsubscribeToken stores the hash of a token that a mail to user is about to have in its links. With the token anybody can
// switch off mail of these kinds, or all mail of the user's, and nothing else. The digest worker does this by itself: it is for
// mails of an application's own. Errors are those of [SetRecipient].
func AddUnsubscribeToken(ctx context.Context, db trunkline.Tx, hash []byte, user string, kinds ...string) error {
	if err := checkUser(user); err != nil {
		return err
	}
	for _, kind := range kinds {
		if err := checkKind("kinds", kind); err != nil {
			return err
		}
	}
	if _, err := db.Exec(ctx, "SELECT trunkline.new_unsubscribe_token($1, $2, $3)", hash, user, kinds); err != nil {
		return fmt.Errorf("store an unsubscribe token of %q: %w", clip(user), explain(err, "hash", grantRecipients))
	}
	return nil
}

// An Offer is what a token can switch off.
type Offer struct {
	// User is whose mail it is: "" for a user who was forgotten since.
	User string
	// Kinds are those that were in the mail; all of the user's mail can be switched off as well.
	Kinds []OfferedKind
}

// An OfferedKind is a kind with its title, or its name again if it has none.
type OfferedKind struct {
	Name  string `json:"name"`
	Title string `json:"title"`
}

// UnsubscribeOffer returns what a token can switch off, and whether there is such a token. It changes nothing, so it is what a page
// may do that a link leads to. Errors: *[trunkline.PrivilegeError]; *[trunkline.SchemaError].
func (i *Inbox) UnsubscribeOffer(ctx context.Context, token string) (Offer, bool, error) {
	hash := hashToken(token)
	if hash == nil {
		return Offer{}, false, nil
	}
	var offer Offer
	var kinds []byte
	err := i.pool.QueryRow(ctx, "SELECT user_id, kinds FROM trunkline.unsubscribe_offer($1)", hash).Scan(&offer.User, &kinds)
	if errors.Is(err, pgx.ErrNoRows) {
		return Offer{}, false, nil
	}
	if err == nil {
		err = json.Unmarshal(kinds, &offer.Kinds)
	}
	if err != nil {
		return Offer{}, false, i.withRole(ctx, fmt.Errorf("look for an unsubscribe token: %w", explain(err, "token", grantInbox)))
	}
	return offer, true, nil
}

// Unsubscribe switches off mail of a kind, or all mail if kind is "", for the user whose token it is, and returns whether there is
// such a token. The same again gives the same answer; so does a token of a user who was forgotten.
//
// Errors: *[trunkline.ArgumentError] for a kind that isn't among the token's; *[trunkline.PrivilegeError];
// *[trunkline.SchemaError].
func (i *Inbox) Unsubscribe(ctx context.Context, token, kind string) (found bool, err error) {
	hash := hashToken(token)
	if hash == nil {
		return false, nil
	}
	if err := checkUTF8("kind", kind); err != nil {
		return false, err
	}
	var done bool
	err = i.inTx(ctx, func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, "SELECT done FROM trunkline.unsubscribe_mail($1, $2)", hash, orNull(kind)).Scan(&done)
		found = err == nil
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		return explain(err, "token", grantInbox)
	})
	if err != nil {
		return false, fmt.Errorf("unsubscribe: %w", err)
	}
	if found && !done {
		return true, &trunkline.ArgumentError{
			Argument: "kind", Problem: fmt.Sprintf("the mail was not about %q", clip(kind)),
			Fix: "Choose a kind that was in the mail, or all mail",
		}
	}
	return found, nil
}
