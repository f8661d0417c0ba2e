package auth

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/trunkline/trunkline"
)

func TestBearer(t *testing.T) {
	g, pool, namespaces := online(t)
	namespaces.set(trunkline.Namespace{Name: "public", Authorize: "app.may", Anonymous: true})
	key := newKey(t, pool, "billing", nil, "publish")
	reload(t, g)
	jwt := token(t, jwt.MapClaims{"sub": "ann"})
	type header = map[string][]string
	for name, test := range map[string]struct {
		method, url string
		header      header
		user, key   string
		words       string // "": taken
	}{
		"nothing":                         {"GET", "/v1/stream", nil, "", "", ""},
		"a token":                         {"POST", "/v1/publish", header{"Authorization": {"Bearer " + jwt}}, "ann", "", ""},
		"in small letters":                {"POST", "/v1/publish", header{"Authorization": {"bearer  " + jwt + " "}}, "ann", "", ""},
		"a key":                           {"POST", "/v1/publish", header{"Authorization": {"Bearer " + key}}, "", "billing", ""},
		"a key in its own header":         {"POST", "/v1/publish", header{"X-Api-Key": {key}}, "", "billing", ""},
		"the same twice":                  {"POST", "/v1/publish", header{"X-Api-Key": {key}, "Authorization": {"Bearer " + key}}, "", "billing", ""},
		"a key beside a proxy's password": {"POST", "/v1/publish", header{"X-Api-Key": {key}, "Authorization": {"Basic eDp5"}}, "", "billing", ""},
		"two":                             {"POST", "/v1/publish", header{"X-Api-Key": {key}, "Authorization": {"Bearer " + jwt}}, "", "", "two different"},
		"a token in the key's header":     {"POST", "/v1/publish", header{"X-Api-Key": {jwt}}, "", "", "holds no API key"},
		"a password":                      {"POST", "/v1/publish", header{"Authorization": {"Basic eDp5"}}, "", "", "isn't understood"},
		"Bearer and nothing":              {"POST", "/v1/publish", header{"Authorization": {"Bearer"}}, "", "", "nothing behind Bearer"},
		"two headers":                     {"POST", "/v1/publish", header{"Authorization": {"Bearer " + jwt, "Bearer " + jwt}}, "", "", "given 2 times"},
		"a token in a stream's address":   {"GET", "/v1/stream?channel=a&token=" + jwt, nil, "ann", "", ""},
		"an empty one":                    {"GET", "/v1/stream?token=", nil, "", "", ""},
		"a bad one":                       {"GET", "/v1/stream?token=undefined", nil, "", "", "no JSON Web Token"},
		"two in the address":              {"GET", "/v1/stream?token=" + jwt + "&token=x", nil, "", "", "given 2 times"},
		"a token in another address":      {"GET", "/v1/history?token=" + jwt, nil, "", "", "for streams only"},
		"a token in a POST's address":     {"POST", "/v1/stream?token=" + jwt, nil, "", "", "for streams only"},
		"a key in an address":             {"GET", "/v1/stream?token=" + key, nil, "", "", "doesn't belong into an address"},
	} {
		t.Run(name, func(t *testing.T) {
			request := httptest.NewRequest(test.method, test.url, nil)
			request.Header = http.Header(test.header)
			if request.Header == nil {
				request.Header = http.Header{}
			}
			id, err := g.Bearer(testContext(t), request)
			if test.words != "" {
				wantRefusal(t, err, BadToken, test.words)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if id.User != test.user || id.Key != test.key {
				t.Errorf("user %q key %q, want %q and %q", id.User, id.Key, test.user, test.key)
			}
		})
	}
}

// FuzzBearer looks for panics, and for somebody let in who shouldn't be.
func FuzzBearer(f *testing.F) {
	f.Add("GET", "token=a.b.c", "Bearer x", "")
	f.Add("GET", "token=%zz;token", "Basic eDp5", "tk_x")
	f.Add("POST", "", "Bearer", "tk_")
	f.Add("GET", "token=eyJhbGciOiJub25lIn0.e30.", "", "")
	g := offline(f, Config{Secret: testSecret})
	f.Fuzz(func(t *testing.T, method, query, authorization, key string) {
		request := httptest.NewRequest(http.MethodGet, "/v1/stream", nil)
		request.Method, request.URL.RawQuery = method, query
		request.Header = http.Header{"Authorization": {authorization}, "X-Api-Key": {key}}
		id, err := g.Bearer(t.Context(), request)
		if err == nil {
			t.Fatalf("%+v was let in", id)
		}
		var refusal *Refusal
		if !errors.As(err, &refusal) || refusal.Reason == "" || id != nil {
			t.Fatalf("%v (%T), identity %v", err, err, id)
		}
	})
}
