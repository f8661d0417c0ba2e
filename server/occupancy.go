package server

import (
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// The names of limits, as problems and metrics give them.
const (
	limitConnections           = "connections"
	limitConnectionsPerUser    = "connections_per_user"
	limitConnectionsPerAddress = "connections_per_address"
	limitRequestRate           = "request_rate"
	limitRequestsAtOnce        = "requests_at_once"
	limitRequestBytes          = "request_bytes"
	limitFailureRate           = "failure_rate"
	limitPublishRate           = "publish_rate"
	limitURLBytes              = "url_bytes"
)

// occupancy counts what is connected: in all, by user and by address.
type occupancy struct {
	limits Limits
	local  bool // open mode: every address is this machine's

	mu        sync.Mutex
	total     int
	users     map[string]int
	addresses map[netip.Prefix]int
}

func newOccupancy(limits Limits, local bool) *occupancy {
	return &occupancy{limits: limits, local: local, users: map[string]int{}, addresses: map[netip.Prefix]int{}}
}

// connect counts a connection from an address until leave is called, once; or says which limit forbids it.
func (o *occupancy) connect(from netip.Addr) (leave func(), refusal *problem) {
	where := network(from)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.total >= o.limits.Connections {
		return nil, limited(http.StatusServiceUnavailable, limitConnections, 5*time.Second,
			"%d connections are open, which is the most this server holds: try again later", o.limits.Connections)
	}
	if !o.local && o.addresses[where] >= o.limits.ConnectionsPerAddress {
		return nil, limited(http.StatusTooManyRequests, limitConnectionsPerAddress, 5*time.Second,
			"%d connections from this address are open, which is the most: close one", o.limits.ConnectionsPerAddress)
	}
	o.total++
	o.addresses[where]++
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.total--
		release(o.addresses, where)
	}, nil
}

// identify counts a connection as a user's until leave is called, once. Who is nobody in particular is not counted.
func (o *occupancy) identify(user string) (leave func(), refusal *problem) {
	if user == "" {
		return func() {}, nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.users[user] >= o.limits.ConnectionsPerUser {
		return nil, limited(http.StatusTooManyRequests, limitConnectionsPerUser, 5*time.Second,
			"%d connections of this user are open, which is the most: close one", o.limits.ConnectionsPerUser)
	}
	o.users[user]++
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		release(o.users, user)
	}, nil
}

// counts are how many things of each key go on, at most so many.
type counts[K comparable] struct {
	most int

	mu sync.Mutex
	of map[K]int
}

// enter counts one until leave is called, once; or says that there are too many.
func (c *counts[K]) enter(key K) (leave func(), ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of[key] >= c.most {
		return nil, false
	}
	c.of[key]++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		release(c.of, key)
	}, true
}

func release[K comparable](counts map[K]int, key K) {
	if counts[key]--; counts[key] <= 0 {
		delete(counts, key)
	}
}
