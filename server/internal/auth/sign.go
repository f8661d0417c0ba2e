package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/golang-jwt/jwt/v5"
)

// A SigningKey makes tokens.
type SigningKey struct {
	method jwt.SigningMethod
	key    any
}

// SecretKey signs with HS256.
func SecretKey(secret []byte) SigningKey {
	return SigningKey{jwt.SigningMethodHS256, secret}
}

// ParseSigningKey reads a private key from PEM: RSA signs with RS256, ECDSA with the algorithm of its curve, Ed25519 with EdDSA.
// Errors don't show the key.
func ParseSigningKey(text []byte) (SigningKey, error) {
	var none SigningKey
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			return none, errors.New("it holds no private key in PEM: that begins with -----BEGIN PRIVATE KEY-----")
		}
		text = rest
		var key any
		var err error
		switch block.Type {
		case "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(block.Bytes)
		case "EC PARAMETERS":
			continue // openssl ecparam -genkey writes them before the key
		case "ENCRYPTED PRIVATE KEY":
			return none, errors.New("the private key is encrypted: decrypt it with `openssl pkey`")
		case "PUBLIC KEY", "RSA PUBLIC KEY", "CERTIFICATE":
			return none, errors.New("it is a public key, which verifies tokens: making them takes the private one")
		default:
			return none, fmt.Errorf("PEM of type %q isn't understood: give a PRIVATE KEY", clip(block.Type))
		}
		if err != nil {
			return none, fmt.Errorf("the private key can't be read: %w", err)
		}
		return newSigningKey(key)
	}
}

func newSigningKey(key any) (SigningKey, error) {
	signer, ok := key.(crypto.Signer)
	if !ok {
		return SigningKey{}, fmt.Errorf("a key of type %T signs nothing: use RSA, ECDSA or Ed25519", key)
	}
	public, err := newPublicKey("", signer.Public(), "")
	if err != nil {
		return SigningKey{}, err
	}
	switch key.(type) {
	case *rsa.PrivateKey, *ecdsa.PrivateKey, ed25519.PrivateKey:
		return SigningKey{jwt.GetSigningMethod(public.algorithms[0]), key}, nil
	}
	return SigningKey{}, fmt.Errorf("a key of type %T signs nothing: use RSA, ECDSA or Ed25519", key)
}

// Sign makes a token of claims, after making sure that they would be taken. id becomes the header's kid unless it is "".
func Sign(payload map[string]any, key SigningKey, id string) (string, error) {
	if key.method == nil {
		return "", errors.New("there is no key to sign with")
	}
	if secret, ok := key.key.([]byte); ok && len(secret) == 0 {
		return "", errors.New("the secret is empty")
	}
	text, err := json.Marshal(payload)
	if err != nil {
		return "", err
	}
	c, err := readClaims(text)
	if err != nil {
		return "", err
	}
	if _, err := compileCaps(c.caps); err != nil {
		return "", err
	}
	token := jwt.NewWithClaims(key.method, jwt.MapClaims(payload))
	if id != "" {
		token.Header["kid"] = id
	}
	signed, err := token.SignedString(key.key)
	if err != nil {
		return "", err
	}
	if len(signed) > maxToken {
		return "", fmt.Errorf("the token would be %d bytes long, more than %d: say less in it", len(signed), maxToken)
	}
	return signed, nil
}
