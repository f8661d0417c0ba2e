package trunkline

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// An APIKey is what the database knows of a key for programs: everything but the key itself.
type APIKey struct {
	ID   int64
	Name string // 1 to 64 bytes; one key's at a time
	// Prefix is what the key begins with, tk_ and 8 characters. No part of the secret: it tells which key is meant.
	Prefix string
	// Hash is the key's SHA-256, as [HashAPIKey] returns it; nil where it is not for the reader.
	Hash []byte
	// Scopes are of publish, read and admin.
	Scopes    []string
	CreatedAt time.Time
	ExpiresAt time.Time // zero: never
	RevokedAt time.Time // zero: it isn't
}

// Good tells whether the key may be used at a time.
func (k *APIKey) Good(at time.Time) bool {
	return k.RevokedAt.IsZero() && (k.ExpiresAt.IsZero() || at.Before(k.ExpiresAt))
}

const (
	keyLetters      = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	keyPrefixLength = 8
	keyBodyLength   = 32 // 190 bits
)

// NewAPIKey makes a key: the secret, which is shown once to who asked for it, and what of it may be stored, without a name or
// scopes yet. A secret reads tk_ABCDEFGH_ and 32 letters and digits.
func NewAPIKey() (secret string, key APIKey) {
	prefix := "tk_" + randomLetters(keyPrefixLength)
	secret = prefix + "_" + randomLetters(keyBodyLength)
	return secret, APIKey{Prefix: prefix, Hash: HashAPIKey(secret)}
}

// HashAPIKey returns the SHA-256 of a key, 32 bytes. A key is random, so no slow hash is needed.
func HashAPIKey(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

// randomLetters returns n of keyLetters, each as likely as the others.
func randomLetters(n int) string {
	letters := make([]byte, 0, n)
	var random [64]byte
	for len(letters) < n {
		_, _ = rand.Read(random[:]) // never fails
		for _, b := range random {
			// 248 is the largest multiple of 62 that a byte can count to: beyond it some letters would come more often.
			if b < 248 && len(letters) < n {
				letters = append(letters, keyLetters[int(b)%len(keyLetters)])
			}
		}
	}
	return string(letters)
}

// CreateAPIKey stores a key made by [NewAPIKey] once it has a name, scopes and, if it is to expire, ExpiresAt. Inside a
// transaction it can be used when that commits. Errors: *[ArgumentError] for what can't be, or a name that another key has;
// *[PrivilegeError]; *[SchemaError].
func CreateAPIKey(ctx context.Context, db Tx, key APIKey) error {
	if err := checkKeyName(key.Name); err != nil {
		return err
	}
	var expires *time.Time
	if !key.ExpiresAt.IsZero() {
		expires = &key.ExpiresAt
	}
	for _, scope := range key.Scopes {
		if scope != "publish" && scope != "read" && scope != "admin" {
			return &ArgumentError{
				Argument: "scopes", Problem: fmt.Sprintf("API key %q cannot have the scope %q", clip(key.Name), clip(scope)),
				Fix: "Name at least one of publish, read and admin",
			}
		}
	}
	_, err := db.Exec(ctx, "SELECT trunkline.create_apikey($1, $2, $3, $4, $5)", key.Name, key.Prefix, key.Hash, key.Scopes, expires)
	return accessError("apikey", err)
}

// RevokeAPIKey makes the key of that name worthless, on every node; the name can then be given again. Errors are those of
// [CreateAPIKey]; one that is [ErrNotFound] if there is no such key.
func RevokeAPIKey(ctx context.Context, db Tx, name string) error {
	if err := checkKeyName(name); err != nil {
		return err
	}
	_, err := db.Exec(ctx, "SELECT trunkline.revoke_apikey($1)", name)
	return accessError("apikey", err)
}

// ReadAPIKeys returns the keys that can be used now, or at a time to come, with their hashes: for a server, to know them by.
// Errors: *[PrivilegeError] if the role may not read hashes; *[SchemaError].
func ReadAPIKeys(ctx context.Context, db Tx) ([]APIKey, error) {
	keys, err := queryAPIKeys(ctx, db, "hash", "WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())")
	if err != nil {
		return nil, fmt.Errorf("read API keys: %w", needs("SELECT trunkline.grant_serve('ROLE')", explain(err)))
	}
	return keys, nil
}

// ListAPIKeys returns all keys there ever were, without their hashes, by name and age: for people. Errors are those of
// [CreateAPIKey].
func ListAPIKeys(ctx context.Context, db Tx) ([]APIKey, error) {
	keys, err := queryAPIKeys(ctx, db, "NULL::bytea", "")
	if err != nil {
		return nil, accessError("apikey", err)
	}
	return keys, nil
}

func queryAPIKeys(ctx context.Context, db Tx, hash, which string) ([]APIKey, error) {
	rows, err := db.Query(ctx, "SELECT id, name, prefix, "+hash+", scopes, created_at, expires_at, revoked_at FROM trunkline.apikey "+which+" ORDER BY name, id")
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (APIKey, error) {
		var k APIKey
		var expires, revoked *time.Time
		err := row.Scan(&k.ID, &k.Name, &k.Prefix, &k.Hash, &k.Scopes, &k.CreatedAt, &expires, &revoked)
		if expires != nil {
			k.ExpiresAt = *expires
		}
		if revoked != nil {
			k.RevokedAt = *revoked
		}
		return k, err
	})
}

func checkKeyName(name string) error {
	if err := checkNamespaceName(name); err != nil {
		return &ArgumentError{
			Argument: "name", Problem: fmt.Sprintf("name %q is not UTF-8 or contains a NUL", clip(name)),
			Fix: "Give 1 to 64 bytes without control characters",
		}
	}
	return nil
}
