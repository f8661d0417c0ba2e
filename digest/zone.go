package digest

import (
	"strings"
	"sync"
	"time"

	// Zones are known wherever this runs, also where the system has none.
	_ "time/tzdata"
)

// zones that were loaded, by name. Names that aren't known aren't kept: there is no end to them.
var zones sync.Map

// loadZone finds a zone by its IANA name. It refuses what means something else on another machine, and zones with leap seconds,
// whose clocks aren't ours.
func loadZone(name string) (*time.Location, bool) {
	if zone, ok := zones.Load(name); ok {
		return zone.(*time.Location), true
	}
	switch {
	case name == "", name == "Local", name == "localtime", name == "posixrules", strings.HasPrefix(name, "right/"):
		return nil, false
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, false
	}
	zones.Store(name, zone)
	return zone, true
}

// zoneOf returns the first of the zones that is known, UTC if none is, and the names before it that aren't known.
func zoneOf(names []string) (zone *time.Location, unknown []string) {
	for _, name := range names {
		if name == "" {
			continue
		}
		if zone, ok := loadZone(name); ok {
			return zone, unknown
		}
		unknown = append(unknown, name)
	}
	return time.UTC, unknown
}

// wallOf returns what clocks in a zone show, as if it were UTC: with that one can calculate.
func wallOf(t time.Time, zone *time.Location) time.Time {
	_, offset := t.In(zone).Zone()
	return t.UTC().Add(time.Duration(offset) * time.Second)
}

// firstAt returns the first instant at which clocks in a zone have reached what wall shows. A time that clocks skip in spring is
// so the first instant after the gap, and one that they show twice in autumn is the first of the two.
//
// Also, firstAt never falls while wall rises, which makes the rest simple.
func firstAt(wall time.Time, zone *time.Location) time.Time {
	// No clock is, or ever was, a day ahead of UTC, so here the time hasn't been reached yet.
	t := wall.Add(-24 * time.Hour).In(zone)
	for {
		_, offset := t.Zone()
		_, end := t.ZoneBounds()
		reached := wall.Add(-time.Duration(offset) * time.Second)
		if reached.Before(t) {
			reached = t // the clocks jumped over it
		}
		if end.IsZero() || reached.Before(end) {
			return reached.In(zone)
		}
		t = end
	}
}
