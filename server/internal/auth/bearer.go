package auth

import (
	"context"
	"net/http"
	"strings"
)

// Bearer finds out who sent a request: by Authorization: Bearer with a token or an API key, by X-API-Key, or, since an EventSource
// can't set headers, by ?token= with a token where a stream is asked for. Without any it is somebody anonymous. An error is a
// *Refusal.
func (g *Gate) Bearer(ctx context.Context, r *http.Request) (*Identity, error) {
	if g.open {
		return &Identity{Open: true}, nil
	}
	credential, err := credentialOf(r)
	if err != nil {
		return nil, err
	}
	return g.Connect(ctx, credential)
}

// credentialOf returns the token or key that a request carries, "" if it has none. An error is a *Refusal.
func credentialOf(r *http.Request) (string, error) {
	authorization, foreign, err := authorizationOf(r)
	if err != nil {
		return "", err
	}
	key, err := single(r.Header["X-Api-Key"], "X-API-Key")
	if err != nil {
		return "", err
	}
	if key != "" && !looksLikeKey(key) {
		return "", refuse(BadToken, "the header X-API-Key holds no API key: those begin with %s; a token goes into Authorization: Bearer", keyPrefix)
	}
	token, err := tokenParameter(r)
	if err != nil {
		return "", err
	}
	found := ""
	for _, credential := range []string{authorization, key, token} {
		if credential == "" {
			continue
		}
		if found != "" && credential != found {
			return "", refuse(BadToken, "the request carries two different tokens or keys: send one")
		}
		found = credential
	}
	if found == "" && foreign {
		// Only now: a proxy in front may have a password of its own, which browsers send along.
		return "", refuse(BadToken, "the header Authorization isn't understood: write Bearer and a token or API key")
	}
	return found, nil
}

// authorizationOf returns what stands behind Bearer. foreign tells of another scheme.
func authorizationOf(r *http.Request) (credential string, foreign bool, err error) {
	header, err := single(r.Header["Authorization"], "Authorization")
	if err != nil || header == "" {
		return "", false, err
	}
	scheme, credential, _ := strings.Cut(header, " ")
	credential = strings.TrimSpace(credential)
	if !strings.EqualFold(scheme, "Bearer") {
		return "", true, nil
	}
	if credential == "" {
		return "", false, refuse(BadToken, "the header Authorization has nothing behind Bearer: a token or API key goes there")
	}
	return credential, false, nil
}

// tokenParameter returns ?token=. Addresses end up in logs and histories, so it is taken only where there is no other way.
func tokenParameter(r *http.Request) (string, error) {
	if r.URL.RawQuery == "" || !strings.Contains(r.URL.RawQuery, "token") {
		return "", nil
	}
	token, err := single(r.URL.Query()["token"], "token")
	switch {
	case err != nil || token == "":
		return "", err
	case r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, "/stream"):
		return "", refuse(BadToken, "a token in the address is taken for streams only: send the header Authorization: Bearer")
	case looksLikeKey(token):
		return "", refuse(BadToken, "an API key doesn't belong into an address, where logs keep it: send the header Authorization: Bearer")
	}
	return token, nil
}

func single(values []string, name string) (string, error) {
	switch len(values) {
	case 0:
		return "", nil
	case 1:
		return strings.TrimSpace(values[0]), nil
	}
	return "", refuse(BadToken, "%s is given %d times: give it once", name, len(values))
}
