package account

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"

	"github.com/trunkline/trunkline/projects"
)

// Passwords may have so many characters. A longer one would only cost work.
const (
	leastPassword = 10
	mostPassword  = 200
)

// parameters are what argon2id is told: how much memory (KiB), how many passes over it, and how many threads.
type parameters struct {
	memory, passes uint32
	threads        uint8
}

// defaultParameters are the second of OWASP's recommendations: about 25 ms of one core.
var defaultParameters = parameters{memory: 19 << 10, passes: 2, threads: 1}

const (
	saltBytes = 16
	hashBytes = 32
)

// A hasher hashes passwords, a bounded number at once: each takes 19 MiB for its time.
type hasher struct {
	parameters parameters
	busy       chan struct{}
	nobody     string // what is compared with where there is no password, so that it takes as long
}

func newHasher(p parameters, atOnce int) *hasher {
	h := &hasher{parameters: p, busy: make(chan struct{}, atOnce)}
	h.nobody = p.hash("nobody's")
	return h
}

// HashPassword hashes a password as Accounts do, in PHC form, without checking it: for those who make people by themselves.
func HashPassword(password string) (string, error) {
	return defaultParameters.hash(password), nil
}

func (p parameters) hash(password string) string {
	salt := make([]byte, saltBytes)
	_, _ = rand.Read(salt) // never fails
	sum := argon2.IDKey([]byte(password), salt, p.passes, p.memory, p.threads, hashBytes)
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.memory, p.passes, p.threads,
		base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(sum))
}

// hash waits for its turn, or for ctx to end.
func (h *hasher) hash(ctx context.Context, password string) (string, error) {
	leave, err := h.enter(ctx)
	if err != nil {
		return "", err
	}
	defer leave()
	return h.parameters.hash(password), nil
}

// verify tells whether a password is the one that was hashed, and whether it should be hashed anew. With "" as hash nobody's
// password is the one, which takes as long to find out.
func (h *hasher) verify(ctx context.Context, password, hashed string) (ok, stale bool, err error) {
	leave, err := h.enter(ctx)
	if err != nil {
		return false, false, err
	}
	defer leave()
	there := hashed != ""
	if !there {
		hashed = h.nobody
	}
	p, salt, sum, ok := parsePHC(hashed)
	if !ok {
		return false, false, fmt.Errorf("a password's hash in the database can't be read: it is none of argon2id in PHC form")
	}
	given := argon2.IDKey([]byte(password), salt, p.passes, p.memory, p.threads, uint32(len(sum)))
	same := subtle.ConstantTimeCompare(given, sum) == 1
	return same && there, p != h.parameters, nil
}

func (h *hasher) enter(ctx context.Context) (leave func(), err error) {
	select {
	case h.busy <- struct{}{}:
		return func() { <-h.busy }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for a turn to hash a password: %w", ctx.Err())
	}
}

// parsePHC reads $argon2id$v=19$m=19456,t=2,p=1$SALT$HASH. It takes nothing that would cost more than a password may.
func parsePHC(s string) (p parameters, salt, sum []byte, ok bool) {
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != "v="+strconv.Itoa(argon2.Version) {
		return p, nil, nil, false
	}
	if n, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &p.memory, &p.passes, &p.threads); err != nil || n != 3 {
		return p, nil, nil, false
	}
	if p.memory < 8 || p.memory > 1<<20 || p.passes < 1 || p.passes > 20 || p.threads < 1 {
		return p, nil, nil, false
	}
	salt, err := base64.RawStdEncoding.DecodeString(parts[4])
	if err != nil || len(salt) < 8 || len(salt) > 64 {
		return p, nil, nil, false
	}
	sum, err = base64.RawStdEncoding.DecodeString(parts[5])
	return p, salt, sum, err == nil && len(sum) >= 16 && len(sum) <= 64
}

// checkPassword takes a password that somebody chooses.
func checkPassword(field, password string) error {
	switch n := utf8.RuneCountInString(password); {
	case !utf8.ValidString(password):
		return &projects.InvalidError{Field: field, Problem: "The password isn't UTF-8: choose another one."}
	case n < leastPassword:
		return &projects.InvalidError{Field: field, Problem: fmt.Sprintf("The password has %s: choose one of at least %d.", characters(n), leastPassword)}
	case n > mostPassword:
		return &projects.InvalidError{Field: field, Problem: fmt.Sprintf("The password has %s: choose one of at most %d.", characters(n), mostPassword)}
	}
	return nil
}

func characters(n int) string {
	if n == 1 {
		return "1 character"
	}
	return strconv.Itoa(n) + " characters"
}
