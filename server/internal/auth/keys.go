package auth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"slices"
	"strings"
	"time"

	"github.com/trunkline/trunkline"
)

// keyPrefix is what API keys begin with, and no token does.
const keyPrefix = "tk_"

// maxKey is how long what is looked up as a key may be, in bytes.
const maxKey = 255

// An apiKey is a row of trunkline.apikey. It doesn't change once made.
type apiKey struct {
	name      string
	hash      [sha256.Size]byte
	scopes    []Scope
	expiresAt time.Time // zero if never
}

// apiKeys are the keys that are neither revoked nor expired, by their hashes.
type apiKeys map[[sha256.Size]byte]*apiKey

func readAPIKeys(ctx context.Context, db trunkline.Tx) (apiKeys, error) {
	rows, err := trunkline.ReadAPIKeys(ctx, db)
	if err != nil {
		return nil, err
	}
	keys := make(apiKeys, len(rows))
	for _, row := range rows {
		key := &apiKey{name: row.Name, hash: [sha256.Size]byte(row.Hash), expiresAt: row.ExpiresAt}
		for _, scope := range row.Scopes {
			key.scopes = append(key.scopes, Scope(scope))
		}
		keys[key.hash] = key
	}
	return keys, nil
}

// find returns the key of a secret, or nil. How long it takes tells about the secret's hash at most, from which there is no
// way to the secret.
func (k apiKeys) find(secret string) *apiKey {
	hash := [sha256.Size]byte(trunkline.HashAPIKey(secret))
	key := k[hash]
	if key == nil || subtle.ConstantTimeCompare(key.hash[:], hash[:]) != 1 {
		return nil
	}
	return key
}

// live tells whether a key that was found earlier still counts: nil or a *Refusal.
func (k apiKeys) live(key *apiKey, now time.Time) error {
	// First, because expired keys are no longer read.
	if !key.expiresAt.IsZero() && !now.Before(key.expiresAt) {
		return refuse(Expired, "API key %q expired at %s", key.name, stamp(key.expiresAt))
	}
	if k[key.hash] == nil {
		return refuse(BadToken, "API key %q was revoked", key.name)
	}
	return nil
}

func looksLikeKey(secret string) bool { return strings.HasPrefix(secret, keyPrefix) }

// permits tells whether scopes include an action.
func permits(scopes []Scope, action Action) bool {
	if slices.Contains(scopes, ScopeAdmin) {
		return true
	}
	if action == Publish {
		return slices.Contains(scopes, ScopePublish)
	}
	return slices.Contains(scopes, ScopeRead)
}
