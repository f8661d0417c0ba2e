package main

import (
	"testing"
	"time"
)

func TestDelayForPeople(t *testing.T) {
	t.Parallel()
	for after, want := range map[time.Duration]string{
		20 * time.Second: "20 seconds", time.Minute: "one minute", 2 * time.Minute: "2 minutes", 90 * time.Second: "90 seconds",
		4 * time.Hour: "4 hours", 1500 * time.Millisecond: "1.5s",
	} {
		if got := (&mails{after: &after}).delay(); got != want {
			t.Errorf("%s is told as %s", after, got)
		}
	}
	if got := (&mails{}).delay(); got != "some hours" {
		t.Errorf("each kind's own is told as %s", got)
	}
}
