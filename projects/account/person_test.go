package account

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/trunkline/trunkline/projects"
)

func TestEdit(t *testing.T) {
	s := newSite(t)
	ctx := testContext(t)
	some := projects.Some[string]
	me, err := s.Edit(ctx, s.cleo, Changes{Name: some(" Cleo Ek "), Company: some("Ek & Co"), TimeZone: some("America/New_York"), Locale: some("pt-br")})
	if err != nil || me.Name != "Cleo Ek" || me.Company != "Ek & Co" || me.TimeZone != "America/New_York" || me.Locale != "pt-BR" {
		t.Errorf("%+v, %v", me, err)
	}
	// Mail goes by it at once.
	mail := scan[string](t, s.pool, "SELECT concat_ws(' ', name, time_zone, locale) FROM projects.recipient WHERE user_id::text = $1", fmt.Sprint(s.cleo))
	if mail != "Cleo Ek America/New_York pt-BR" {
		t.Errorf("mail goes to %q", mail)
	}
	if me, err = s.Edit(ctx, s.cleo, Changes{Name: some("Cleo")}); err != nil || me.Name != "Cleo" || me.Company != "Ek & Co" || me.Locale != "pt-BR" {
		t.Errorf("what isn't said has changed: %+v, %v", me, err)
	}
	if me, err = s.Edit(ctx, s.cleo, Changes{TimeZone: some(""), Locale: some(""), Company: some(" ")}); err != nil || me.TimeZone+me.Locale+me.Company != "" {
		t.Errorf("what is emptied: %+v, %v", me, err)
	}
	if _, err = s.Edit(ctx, s.stan, Changes{Company: some("Acme")}); err != nil {
		t.Errorf("staff whose company is sent as it is: %v", err)
	}
	for _, try := range []struct {
		person int64
		field  string
		change Changes
	}{
		{s.cleo, "name", Changes{Name: some(" ")}},
		{s.cleo, "name", Changes{Name: some("a\nb")}},
		{s.cleo, "name", Changes{Name: some(strings.Repeat("x", 101))}},
		{s.cleo, "company", Changes{Company: some(strings.Repeat("x", 101))}},
		{s.cleo, "company", Changes{Company: some("a\x00b")}},
		{s.stan, "company", Changes{Company: some("Another")}},
		{s.cleo, "time_zone", Changes{TimeZone: some("Mars/Olympus")}},
		{s.cleo, "time_zone", Changes{TimeZone: some("Local")}},
		{s.cleo, "time_zone", Changes{TimeZone: some("../etc/passwd")}},
		{s.cleo, "time_zone", Changes{TimeZone: some("\x00")}},
		{s.cleo, "locale", Changes{Locale: some("not a language")}},
		{s.cleo, "locale", Changes{Locale: some("xx-" + strings.Repeat("x", 100))}},
		{s.cleo, "locale", Changes{Locale: some("<b>")}},
	} {
		var invalid *projects.InvalidError
		if _, err := s.Edit(ctx, try.person, try.change); !errors.As(err, &invalid) || invalid.Field != try.field || invalid.Problem == "" {
			t.Errorf("%+v: %v", try.change, err)
		}
	}
}

func TestDemo(t *testing.T) {
	s := newSite(t)
	ctx := testContext(t)
	s.exec("UPDATE projects.person SET demo = true WHERE id = $1", s.cleo)
	people, err := s.DemoPeople(ctx)
	if err != nil || len(people) != 1 || people[0].ID != s.cleo {
		t.Errorf("%+v, %v", people, err)
	}
	if session, err := s.SignInDemo(ctx, s.cleo, here); err != nil || session.Me.ID != s.cleo {
		t.Errorf("%+v, %v", session, err)
	}
	for _, person := range []int64{s.stan, 0, -1, 99999} {
		if _, err := s.SignInDemo(ctx, person, here); !errors.Is(err, projects.ErrNotFound) {
			t.Errorf("as person %d: %v", person, err)
		}
	}
	without := New(s.pool, Options{})
	if _, err := without.SignInDemo(ctx, s.cleo, here); !errors.Is(err, projects.ErrNotFound) {
		t.Errorf("where there is no demo: %v", err)
	}
	if _, err := without.DemoPeople(ctx); !errors.Is(err, projects.ErrNotFound) {
		t.Errorf("where there is no demo: %v", err)
	}
}
