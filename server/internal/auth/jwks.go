package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/time/rate"
)

const (
	maxKeySet  = 1 << 20 // bytes of a document
	maxSetKeys = 100     // keys in it
	// keySetTimeout bounds a fetch, and so what a client waits whose token names a new key.
	keySetTimeout = 5 * time.Second
	// keySetRefresh is how long a key that was withdrawn goes on to count.
	keySetRefresh = 10 * time.Minute
	// keySetRetry is how often an unknown kid, which anyone can send, or an outage leads to a fetch.
	keySetRetry = 10 * time.Second
)

// A keySet is a JSON Web Key Set kept in memory. It is fetched every ten minutes, and when a token names a key that isn't in it,
// which is how keys are rotated. Keys stay while the set can't be fetched.
type keySet struct {
	url    string
	logger *slog.Logger
	client *http.Client

	ctx    context.Context // ends with close
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	loop    bool // keep is running
	keys    []publicKey
	current *keyFetch // nil if none is under way
	limit   *rate.Limiter
}

// A keyFetch is one fetch, shared by all who wait for it.
type keyFetch struct {
	done chan struct{}
	err  error // once done is closed
}

func newKeySet(address string, logger *slog.Logger) (*keySet, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, errors.New("the JWKS URL can't be read: give one such as https://id.example.com/.well-known/jwks.json")
	}
	if (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" {
		return nil, fmt.Errorf("JWKS URL %q is neither https nor http: give one such as https://id.example.com/.well-known/jwks.json",
			clip(u.Redacted()))
	}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, ResponseHeaderTimeout: keySetTimeout, TLSHandshakeTimeout: keySetTimeout,
		DisableKeepAlives: true, // one request in ten minutes
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &keySet{
		url: address, logger: logger.With("jwks", u.Redacted()), ctx: ctx, cancel: cancel,
		client: &http.Client{Transport: transport, CheckRedirect: checkRedirect},
		limit:  rate.NewLimiter(rate.Every(keySetRetry), 1),
	}, nil
}

// checkRedirect follows only where the answer is as trustworthy as it was to be.
func checkRedirect(r *http.Request, via []*http.Request) error {
	switch {
	case len(via) >= 3:
		return errors.New("it redirects more than three times")
	case r.URL.Scheme != "https" && r.URL.Scheme != via[0].URL.Scheme:
		return fmt.Errorf("it redirects from %s to %q", via[0].URL.Scheme, clip(r.URL.Scheme))
	}
	return nil
}

// start fetches the set and keeps it fresh until close.
func (s *keySet) start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.loop || s.closed {
		return
	}
	s.loop = true
	s.done.Go(s.keep)
}

func (s *keySet) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.done.Wait()
}

func (s *keySet) keep() {
	for {
		fetch := s.join(true)
		if fetch == nil {
			return // closed
		}
		<-fetch.done
		wait := keySetRefresh
		if fetch.err != nil {
			if s.ctx.Err() != nil {
				return
			}
			wait = keySetRetry
			s.logger.Error("the keys for tokens can't be fetched", "error", fetch.err, "retry_in", wait)
		}
		select {
		case <-s.ctx.Done():
			return
		case <-time.After(wait*3/4 + rand.N(wait/2)): // nodes that were started together spread out
		}
	}
}

// find returns the keys for a kid, or all if it is "". An error is a *Refusal.
func (s *keySet) find(ctx context.Context, id, algorithm string) ([]jwt.VerificationKey, error) {
	if found := s.known(id, algorithm); len(found) > 0 {
		return found, nil
	}
	fetch := s.join(false)
	if fetch == nil {
		// The key may be a second old: the client should come again, not give up.
		return nil, refuse(Unavailable, "the token's key isn't known yet: try again in %d s", int(keySetRetry.Seconds()))
	}
	select {
	case <-fetch.done:
	case <-ctx.Done():
		return nil, &Refusal{Code: Unavailable, Reason: "the keys for tokens couldn't be fetched in time: try again", err: ctx.Err()}
	}
	if fetch.err != nil {
		return nil, &Refusal{Code: Unavailable, Reason: "the keys for tokens can't be fetched at the moment: try again", err: fetch.err}
	}
	if found := s.known(id, algorithm); len(found) > 0 {
		return found, nil
	}
	return nil, refuse(BadToken, "the token is signed with a key that the key set doesn't have")
}

func (s *keySet) known(id, algorithm string) []jwt.VerificationKey {
	s.mu.Lock()
	defer s.mu.Unlock()
	return candidates(s.keys, id, algorithm)
}

// join returns the fetch under way, or begins one. It returns nil when closed, and unless always is set when there was one
// not long ago.
func (s *keySet) join(always bool) *keyFetch {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || (s.current == nil && !always && !s.limit.Allow()) {
		return nil
	}
	if s.current == nil {
		fetch := &keyFetch{done: make(chan struct{})}
		s.current = fetch
		s.done.Go(func() { s.refresh(fetch) })
	}
	return s.current
}

func (s *keySet) refresh(fetch *keyFetch) {
	ctx, cancel := context.WithTimeout(s.ctx, keySetTimeout)
	defer cancel()
	keys, err := s.fetch(ctx)
	s.mu.Lock()
	if fetch.err = err; err == nil {
		s.keys = keys
	}
	s.current = nil
	s.mu.Unlock()
	close(fetch.done)
}

func (s *keySet) fetch(ctx context.Context) ([]publicKey, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	response, err := s.client.Do(request)
	if err != nil {
		return nil, withoutURL(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the answer is %s", response.Status)
	}
	document, err := io.ReadAll(io.LimitReader(response.Body, maxKeySet+1))
	if err != nil {
		return nil, err
	}
	if len(document) > maxKeySet {
		return nil, fmt.Errorf("the answer is longer than %d bytes", maxKeySet)
	}
	return s.read(document)
}

// withoutURL takes the address out of an error, which may hold a password.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// read takes the keys of a document that verify something; what else a set holds is for others.
func (s *keySet) read(document []byte) ([]publicKey, error) {
	var set struct{ Keys []json.RawMessage }
	if err := json.Unmarshal(document, &set); err != nil {
		return nil, fmt.Errorf("the answer is no JSON Web Key Set: %w", err)
	}
	if len(set.Keys) > maxSetKeys {
		return nil, fmt.Errorf("the set has %d keys, more than %d", len(set.Keys), maxSetKeys)
	}
	var keys []publicKey
	for i, raw := range set.Keys {
		key, err := readKey(raw)
		if err != nil {
			s.logger.Debug("a key of the set is left out", "index", i, "error", err)
			continue
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("none of the set's %d keys can verify a token", len(set.Keys))
	}
	return keys, nil
}

func readKey(raw json.RawMessage) (publicKey, error) {
	jwk, err := jwkset.NewJWKFromRawJSON(raw, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
	if err != nil {
		return publicKey{}, err
	}
	marshal := jwk.Marshal()
	if marshal.USE != "" && marshal.USE != jwkset.UseSig {
		return publicKey{}, fmt.Errorf("its use is %q", clip(marshal.USE.String()))
	}
	return newPublicKey(marshal.KID, jwk.Key(), marshal.ALG.String())
}
