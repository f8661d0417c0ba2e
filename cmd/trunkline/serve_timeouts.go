package main

import "time"

// timeoutFlags bound how long clients may take.
type timeoutFlags struct {
	HeaderTimeout time.Duration `placeholder:"DURATION" default:"10s" help:"How long a request's headers may take to arrive. Default: 10s, which slow phones still make, and connections that say nothing don't."`
	IdleTimeout   time.Duration `placeholder:"DURATION" default:"2m" help:"How long a connection is kept for another request. Default: 2m, longer than proxies keep theirs."`
	WriteTimeout  time.Duration `placeholder:"DURATION" default:"20s" help:"How long a client may take to accept what is written to it, before it is disconnected. Default: 20s; it resumes when it is back."`
}

// check refuses what nobody could keep to, or what would bound nothing.
func (f *timeoutFlags) check() error {
	for _, given := range []struct {
		flag       string
		value      time.Duration
		least, top time.Duration
	}{
		{"--header-timeout", f.HeaderTimeout, 100 * time.Millisecond, 5 * time.Minute},
		{"--idle-timeout", f.IdleTimeout, time.Second, time.Hour},
		{"--write-timeout", f.WriteTimeout, 10 * time.Millisecond, 5 * time.Minute},
	} {
		if given.value < given.least || given.value > given.top {
			return usagef("%s %v can't be: choose between %v and %v", given.flag, given.value, given.least, given.top)
		}
	}
	return nil
}
