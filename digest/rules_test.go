package digest

import (
	"math"
	"testing"
	"time"
)

func TestRulesThatMakeNoSenseAreRefused(t *testing.T) {
	t.Parallel()
	if err := (Rules{}).Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	if err := (Rules{ActiveWindow: -1, DailyCap: -1}).Validate(); err != nil {
		t.Errorf("switched off: %v", err)
	}
	const off = ", or a negative one for no such rule"
	for _, c := range []struct {
		rules Rules
		text  string
	}{
		{Rules{ActiveWindow: 2 * time.Hour}, "Rules.ActiveWindow is 2h. Choose between 1s and 1h, or 0 for the default" + off},
		{Rules{ActiveWindow: time.Millisecond}, "Rules.ActiveWindow is 1ms. Choose between 1s and 1h, or 0 for the default" + off},
		{Rules{MaxPostpone: -1}, "Rules.MaxPostpone is -1ns. Choose between 1s and 24h, or 0 for the default"},
		{Rules{MaxAge: time.Minute}, "Rules.MaxAge is 1m. Choose between 1h and 400 days, or 0 for the default"},
		{Rules{DailyCap: 1001}, "Rules.DailyCap is 1001. Choose between 1 and 1000, or 0 for the default" + off},
		{Rules{BounceLimit: math.NaN()}, "Rules.BounceLimit is NaN. Choose between 0.5 and 100, or 0 for the default"},
		{Rules{BounceLimit: -1}, "Rules.BounceLimit is -1. Choose between 0.5 and 100, or 0 for the default"},
		{Rules{MostItems: 100_001}, "Rules.MostItems is 100001. Choose between 1 and 100000, or 0 for the default"},
		{Rules{MostItems: -1}, "Rules.MostItems is -1. Choose between 1 and 100000, or 0 for the default"},
	} {
		if err := c.rules.Validate(); err == nil || err.Error() != c.text {
			t.Errorf("%+v: %v, want %s", c.rules, err, c.text)
		}
	}
}
