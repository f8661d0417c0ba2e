package server

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
)

var trusted = proxies{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}

func TestClientAddress(t *testing.T) {
	for _, test := range []struct {
		name, peer string
		plain      []string // X-Forwarded-For
		standard   []string // Forwarded
		want       string
	}{
		{"nobody forwards", "192.0.2.1:99", nil, nil, "192.0.2.1"},
		{"a stranger claims to", "192.0.2.1:99", []string{"198.51.100.7"}, nil, "192.0.2.1"},
		{"a proxy forwards", "10.0.0.1:99", []string{"198.51.100.7"}, nil, "198.51.100.7"},
		{"the client forged more", "10.0.0.1:99", []string{"127.0.0.1, 198.51.100.7"}, nil, "198.51.100.7"},
		{"two proxies", "10.0.0.1:99", []string{"127.0.0.1, 198.51.100.7, 10.9.9.9"}, nil, "198.51.100.7"},
		{"in two headers", "10.0.0.1:99", []string{"127.0.0.1", "198.51.100.7", "10.9.9.9"}, nil, "198.51.100.7"},
		{"a proxy that says nothing", "10.0.0.1:99", nil, nil, "10.0.0.1"},
		{"all trusted", "10.0.0.1:99", []string{"10.0.0.3, 10.0.0.2"}, nil, "10.0.0.3"},
		{"nonsense before a proxy", "10.0.0.1:99", []string{"198.51.100.7, nonsense, 10.0.0.2"}, nil, "10.0.0.2"},
		{"nonsense", "10.0.0.1:99", []string{"unknown"}, nil, "10.0.0.1"},
		{"with a port", "10.0.0.1:99", []string{"198.51.100.7:4711"}, nil, "198.51.100.7"},
		{"IPv6", "[fd00::1]:99", []string{"2001:db8::7"}, nil, "2001:db8::7"},
		{"IPv6 with a port", "[fd00::1]:99", []string{"[2001:db8::7]:80"}, nil, "2001:db8::7"},
		{"an IPv4 peer on an IPv6 socket", "[::ffff:10.0.0.1]:99", []string{"::ffff:198.51.100.7"}, nil, "198.51.100.7"},
		{"Forwarded", "10.0.0.1:99", nil, []string{`for=127.0.0.1, for="[2001:db8::7]:4711";proto=https;by=10.0.0.1`}, "2001:db8::7"},
		{"Forwarded, obfuscated", "10.0.0.1:99", nil, []string{`for=_hidden`}, "10.0.0.1"},
		{"both agree", "10.0.0.1:99", []string{"198.51.100.7"}, []string{"FOR=198.51.100.7"}, "198.51.100.7"},
		{"both disagree", "10.0.0.1:99", []string{"198.51.100.7"}, []string{"for=127.0.0.1"}, "10.0.0.1"},
		{"a Unix socket", "@", []string{"198.51.100.7"}, nil, "invalid IP"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody)
			r.RemoteAddr = test.peer
			r.Header["X-Forwarded-For"], r.Header["Forwarded"] = test.plain, test.standard
			if got := trusted.client(r).String(); got != test.want {
				t.Errorf("the client is %s, want %s", got, test.want)
			}
		})
	}
}

func TestNetworkOfAnAddress(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.1": "192.0.2.1/32", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64",
	} {
		if got := network(netip.MustParseAddr(addr)).String(); got != want {
			t.Errorf("%s counts with %s, want %s", addr, got, want)
		}
	}
	if network(netip.Addr{}).IsValid() {
		t.Error("no address has a network")
	}
}

// FuzzForwardedFor looks for headers that make a client out to be another than the last one that a trusted proxy saw.
func FuzzForwardedFor(f *testing.F) {
	f.Add("198.51.100.7", "10.0.0.2", false)
	f.Add("127.0.0.1, 198.51.100.7:80,[2001:db8::1]:1,", " ,", false)
	f.Add(`for="[2001:db8::7]:4711";proto=https`, `for=10.0.0.2;by="x"`, true)
	f.Add(`for="a, for=127.0.0.1`, "", true)
	f.Fuzz(func(t *testing.T, forged, second string, standard bool) {
		name, seen := "X-Forwarded-For", "203.0.113.9"
		if standard {
			name, seen = "Forwarded", "for=203.0.113.9"
		}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody)
		r.Header[name] = []string{forged, second}
		r.RemoteAddr = "203.0.113.9:1"
		if got := trusted.client(r); got.String() != "203.0.113.9" {
			t.Fatalf("a peer that isn't trusted is taken for %s", got)
		}
		r.RemoteAddr = "10.0.0.1:1"
		trusted.client(r) // whatever it says, it returns
		// The proxy adds whom it saw, as one more header or to the last one.
		for _, values := range [][]string{{forged, second, seen}, {forged, second + ", " + seen}} {
			r.Header[name] = values
			if got := trusted.client(r); got.String() != "203.0.113.9" {
				t.Fatalf("%q gives %s", values, got)
			}
		}
	})
}
