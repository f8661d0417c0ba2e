package account

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trunkline/trunkline/projects"
)

// from is a client at an address.
func from(address string) Client { return Client{Address: netip.MustParseAddr(address)} }

// fails signs in with a wrong password, and returns how long to wait if that is refused unread.
func fails(t *testing.T, a *Accounts, email string, client Client) (retryAfter int) {
	t.Helper()
	_, err := a.SignIn(testContext(t), email, "wrong", client)
	var limit *projects.LimitError
	var wrong *CredentialsError
	switch {
	case errors.As(err, &limit):
		return limit.RetryAfter
	case !errors.As(err, &wrong):
		t.Fatal(err)
	}
	return 0
}

func TestThrottleByEmailOverTwoNodes(t *testing.T) {
	s := newSite(t)
	nodes := []*Accounts{s.Accounts, s.node()}
	for i := range 10 {
		// Whatever the address looks like, and wherever it comes from.
		if wait := fails(t, nodes[i%2], []string{"cleo@example.com", " CLEO@example.com "}[i%2], from(fmt.Sprintf("192.0.2.%d", i))); wait != 0 {
			t.Fatalf("failure %d has to wait %d s", i+1, wait)
		}
		s.forward(10 * time.Second)
	}
	for i, a := range nodes {
		if wait := fails(t, a, "cleo@example.com", from("198.51.100.1")); wait != 800 {
			t.Errorf("node %d: after ten failures in 100 s one has to wait %d s", i, wait)
		}
		var limit *projects.LimitError
		if _, err := a.SignIn(testContext(t), "cleo@example.com", password, from("198.51.100.1")); !errors.As(err, &limit) {
			t.Errorf("node %d: the right password: %v", i, err)
		}
	}
	if wait := fails(t, s.Accounts, "stan@example.com", here); wait != 0 {
		t.Errorf("somebody else has to wait %d s", wait)
	}
	// Once the first failure is old enough, one more goes, and no second.
	s.forward(801 * time.Second)
	if wait := fails(t, s.Accounts, "cleo@example.com", here); wait != 0 {
		t.Errorf("a quarter of an hour after the first one has to wait %d s", wait)
	}
	if wait := fails(t, s.Accounts, "cleo@example.com", here); wait != 9 {
		t.Errorf("then one has to wait %d s", wait)
	}
}

func TestThrottleByAddress(t *testing.T) {
	s := newSite(t)
	for i := range 50 {
		client := from("2001:db8:1:2::" + fmt.Sprintf("%x", i+1)) // one network of a subscriber's
		if wait := fails(t, s.Accounts, fmt.Sprintf("nobody-%d@example.com", i), client); wait != 0 {
			t.Fatalf("failure %d has to wait %d s", i+1, wait)
		}
	}
	if wait := fails(t, s.Accounts, "cleo@example.com", from("2001:db8:1:2:ffff::1")); wait < 1 {
		t.Error("fifty failures from a network, and no wait")
	}
	if _, err := s.SignIn(testContext(t), "cleo@example.com", password, from("2001:db8:1:3::1")); err != nil {
		t.Errorf("from elsewhere: %v", err)
	}
}

// Signing in is no failure, however often, and clears those of its e-mail address.
func TestSuccessIsNoAttempt(t *testing.T) {
	s := newSite(t)
	for range 12 {
		s.in()
	}
	if n := scan[int](t, s.pool, "SELECT count(*) FROM projects.attempt"); n != 0 {
		t.Errorf("%d attempts stay", n)
	}
	for range 3 {
		for range 9 {
			if wait := fails(t, s.Accounts, "cleo@example.com", here); wait != 0 {
				t.Fatalf("one has to wait %d s", wait)
			}
		}
		s.in()
	}
	if n := scan[int](t, s.pool, "SELECT count(*) FROM projects.attempt WHERE subject LIKE 'address:%'"); n != 27 {
		t.Errorf("%d failures of the address are kept", n)
	}
	if n := scan[int](t, s.pool, "SELECT count(*) FROM projects.attempt WHERE subject LIKE '%@%'"); n != 0 {
		t.Error("e-mail addresses are kept")
	}
}

// Many attempts at once are no way around: not one more gets to know whether its password is right.
func TestThrottleOfAttemptsAtOnce(t *testing.T) {
	s := newSite(t)
	nodes := []*Accounts{s.Accounts, s.node()}
	var tried, refused atomic.Int64
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			if fails(t, nodes[i%2], "cleo@example.com", here) == 0 {
				tried.Add(1)
			} else {
				refused.Add(1)
			}
		})
	}
	all.Wait()
	if tried.Load() != 10 || refused.Load() != 30 {
		t.Errorf("%d were tried, %d refused", tried.Load(), refused.Load())
	}
}
