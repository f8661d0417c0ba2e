package auth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	"github.com/golang-jwt/jwt/v5"
)

// minRSA is the smallest RSA key that is taken, in bits: RFC 7518 asks for it.
const minRSA = 2048

// maxTried is how many keys are tried on a token that doesn't name its key: each costs time that a stranger can ask for.
const maxTried = 8

// A publicKey verifies tokens of the algorithms that belong to its kind.
type publicKey struct {
	id         string // kid, "" if it has none
	key        crypto.PublicKey
	algorithms []string
}

// newPublicKey says what a key is good for. algorithm narrows it to one, unless "".
func newPublicKey(id string, key crypto.PublicKey, algorithm string) (publicKey, error) {
	k := publicKey{id: id, key: key}
	switch key := key.(type) {
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < minRSA {
			return k, fmt.Errorf("an RSA key has %d bits: it needs %d", bits, minRSA)
		}
		k.algorithms = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
	case *ecdsa.PublicKey:
		switch key.Curve {
		case elliptic.P256():
			k.algorithms = []string{"ES256"}
		case elliptic.P384():
			k.algorithms = []string{"ES384"}
		case elliptic.P521():
			k.algorithms = []string{"ES512"}
		default:
			return k, fmt.Errorf("an ECDSA key is on the curve %s: it must be P-256, P-384 or P-521", key.Params().Name)
		}
	case ed25519.PublicKey:
		k.algorithms = []string{"EdDSA"}
	default:
		return k, fmt.Errorf("a key of type %T verifies nothing: use RSA, ECDSA or Ed25519", key)
	}
	if algorithm != "" {
		if !slices.Contains(k.algorithms, algorithm) {
			return k, fmt.Errorf("a key of type %T can't verify %s", key, clip(algorithm))
		}
		k.algorithms = []string{algorithm}
	}
	return k, nil
}

// parsePublicKeys reads public keys and certificates from PEM.
func parsePublicKeys(text []byte) ([]publicKey, error) {
	var keys []publicKey
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			break
		}
		text = rest
		key, err := parsePublicKey(block)
		if err != nil {
			return nil, fmt.Errorf("public key %d: %w", len(keys)+1, err)
		}
		verifier, err := newPublicKey("", key, "")
		if err != nil {
			return nil, fmt.Errorf("public key %d: %w", len(keys)+1, err)
		}
		keys = append(keys, verifier)
	}
	switch {
	case len(keys) == 0:
		return nil, errors.New("the public keys hold none in PEM: it begins with -----BEGIN PUBLIC KEY-----")
	case len(keys) > maxTried:
		return nil, fmt.Errorf("there are %d public keys, more than %d: serve them as a JWKS", len(keys), maxTried)
	}
	return keys, nil
}

func parsePublicKey(block *pem.Block) (crypto.PublicKey, error) {
	switch block.Type {
	case "PUBLIC KEY":
		return x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return certificate.PublicKey, nil
	case "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY":
		return nil, errors.New("it is a private key, which only whoever makes tokens needs: give what `openssl pkey -pubout` prints")
	}
	return nil, fmt.Errorf("PEM of type %q isn't understood: give a PUBLIC KEY or a CERTIFICATE", clip(block.Type))
}

// A keyring finds the key for a token. Which algorithms count follows from the keys it has: a secret never verifies what
// claims an asymmetric algorithm, nor a public key what claims HMAC, whatever the token says.
type keyring struct {
	secret []byte
	fixed  []publicKey
	remote *keySet // nil if there is none
}

var hmacAlgorithms = []string{"HS256", "HS384", "HS512"}

func (r *keyring) empty() bool { return len(r.secret) == 0 && len(r.fixed) == 0 && r.remote == nil }

// algorithms lists what tokens may be signed with.
func (r *keyring) algorithms() []string {
	var names []string
	if len(r.secret) > 0 {
		names = append(names, hmacAlgorithms...)
	}
	if r.remote != nil {
		return append(names, "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
	}
	for _, key := range r.fixed {
		for _, name := range key.algorithms {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// find returns the keys to try on a token: a []byte or a jwt.VerificationKeySet. An error is a *Refusal. doubt is one too, for when
// none of the keys fits: there may be others, which couldn't be had.
func (r *keyring) find(ctx context.Context, token *jwt.Token) (keys any, doubt, err error) {
	algorithm := token.Method.Alg()
	if slices.Contains(hmacAlgorithms, algorithm) {
		if len(r.secret) == 0 {
			return nil, nil, refuse(BadToken, "the token is signed with %s, for which there is no secret here", algorithm)
		}
		return r.secret, nil, nil
	}
	id, _ := token.Header["kid"].(string)
	found := candidates(r.fixed, "", algorithm) // PEM has no kid: these are tried whatever the token names
	if r.remote != nil {
		remote, err := r.remote.find(ctx, id, algorithm)
		if err != nil && len(found) == 0 {
			return nil, nil, err
		}
		found, doubt = append(found, remote...), err
	}
	if len(found) == 0 {
		return nil, nil, refuse(BadToken, "the token is signed with %s, for which there is no key here", algorithm)
	}
	return jwt.VerificationKeySet{Keys: found}, doubt, nil
}

// candidates are the keys for a kid, or all if it is "", that can verify an algorithm.
func candidates(keys []publicKey, id, algorithm string) []jwt.VerificationKey {
	var found []jwt.VerificationKey
	for _, key := range keys {
		if (id == "" || key.id == id) && slices.Contains(key.algorithms, algorithm) && len(found) < maxTried {
			found = append(found, key.key)
		}
	}
	return found
}
