package projects

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A crowd is a team with everybody else who could ask.
type crowd struct {
	team
	ids map[string]string // user ids by what they are
}

func newCrowd(t *testing.T, db database) crowd {
	t.Helper()
	m := newTeam(t, db)
	other := newTeam(t, db) // another organisation, another project
	gone := newPerson(t, db, m.Organisation, "Gwen")
	goneAdmin := newPerson(t, db, m.Organisation, "Gil")
	exec(t, db, "INSERT INTO projects.membership (project_id, person_id, role) VALUES ($1, $2, 'lead')", m.Project, gone)
	exec(t, db, "UPDATE projects.person SET deactivated_at = now(), admin = (id = $2) WHERE id = ANY (ARRAY[$1, $2]::bigint[])", gone, goneAdmin)
	colleague := newPerson(t, db, m.Organisation, "Carl") // staff, no member
	id := func(n int64) string { return strconv.FormatInt(n, 10) }
	return crowd{m, map[string]string{
		"admin": id(m.Admin), "lead": id(m.Lead), "staff": id(m.Staff), "customer": id(m.Customer),
		"colleague": id(colleague), "outsider": id(m.Outsider), "other admin": id(other.Admin), "other lead": id(other.Lead),
		"deactivated lead": id(gone), "deactivated admin": id(goneAdmin), "nobody": "999999", "anonymous": "",
	}}
}

var insiders = []string{"admin", "lead", "staff", "customer"}

func TestMay(t *testing.T) {
	s := newStore(t)
	c := newCrowd(t, s.pool)
	project, chat := strconv.FormatInt(c.Project, 10), strconv.FormatInt(newConversation(t, s.pool, c.Project, "General"), 10)
	actions := []string{"subscribe", "history", "presence", "mail", "publish", "", "SUBSCRIBE", "other"}
	allowed := map[string][]string{ // channel: actions of insiders
		"project:" + project:  {"subscribe", "history", "presence", "mail"},
		"chat:" + chat:        {"subscribe", "history", "presence", "mail"},
		"progress:" + project: {"subscribe", "history"},
	}
	for channel, may := range allowed {
		for who, user := range c.ids {
			for _, action := range actions {
				want := slices.Contains(may, action) && slices.Contains(insiders, who)
				if got := scan[bool](t, s.pool, "SELECT projects.may($1, $2, $3)", user, channel, action); got != want {
					t.Errorf("%s, %s, %q: %v, want %v", who, channel, action, got, want)
				}
			}
		}
	}
	// Everybody follows themselves, whoever they are, and nobody else.
	for who, user := range c.ids {
		for other, whose := range c.ids {
			for _, action := range actions {
				want := who == other && slices.Contains([]string{"subscribe", "history"}, action) &&
					!strings.HasPrefix(who, "deactivated") && who != "nobody" && who != "anonymous"
				if got := scan[bool](t, s.pool, "SELECT projects.may($1, 'person:' || $2, $3)", user, whose, action); got != want {
					t.Errorf("%s, person of %s, %q: %v, want %v", who, other, action, got, want)
				}
			}
		}
	}
}

func TestMayRefusesWhatIsMalformed(t *testing.T) {
	s := newStore(t)
	c := newCrowd(t, s.pool)
	p, admin := strconv.FormatInt(c.Project, 10), c.ids["admin"]
	chat := strconv.FormatInt(newConversation(t, s.pool, c.Project, "General"), 10)
	channels := []string{
		"", ":", "project", "project:", "project:x", "project:" + p + ":", "project:" + p + ":2", "chat:" + chat + ":2", "project:0" + p,
		"project:+" + p, "project:-" + p, "project: " + p, "project:" + p + " ", " project:" + p, "project:" + p + "\n", "\nproject:" + p,
		"project:" + p + ".0", "project:" + p + "e0", "project:0x" + p, "project:9999999999999999999999", "project:9223372036854775808",
		"project:999999999999999999", "project:0", "project:٣", "Project:" + p, "projects:" + p, "projectx:" + p, "project;" + p, "xproject:" + p,
		"chat:", "chat:0", "chat:999999", "chat:9999999999999999999999", "progress:", "progress:x", "person:", "person:x", "person:0",
		"person:" + admin + ":1", "person:9999999999999999999999", "inbox:" + admin, "inbox:1", "inbox:", "trunkline:control", "task:1",
		"project:" + p + "' OR true --", "project:%", "project:*", strings.Repeat("project:", 40), "project:" + strings.Repeat("9", 300),
	}
	users := []string{
		admin, "", "0", "x", "0" + admin, "+" + admin, "-" + admin, " " + admin, admin + " ", admin + "\n", admin + ".0",
		"9999999999999999999999", "9223372036854775808", "' OR true --", "٣",
	}
	for _, channel := range channels {
		for _, action := range []string{"subscribe", "history", "presence", "mail", "publish"} {
			if scan[bool](t, s.pool, "SELECT projects.may($1, $2, $3)", admin, channel, action) {
				t.Errorf("an admin may %s %q", action, channel)
			}
		}
	}
	for _, user := range users[1:] {
		for _, channel := range []string{"project:" + p, "chat:" + chat, "progress:" + p, "person:" + admin, "person:" + user} {
			if scan[bool](t, s.pool, "SELECT projects.may($1, $2, 'subscribe')", user, channel) {
				t.Errorf("%q may subscribe to %q", user, channel)
			}
		}
	}
	for _, args := range []string{"NULL, 'project:1', 'subscribe'", "'1', NULL, 'subscribe'", "'1', 'project:1', NULL", "NULL, NULL, NULL"} {
		if scan[bool](t, s.pool, "SELECT projects.may("+args+")") {
			t.Errorf("may(%s) is true", args)
		}
	}
}

// A role is the same one by one, all at once, and in what follows from it.
func TestRole(t *testing.T) {
	s := newStore(t)
	c := newCrowd(t, s.pool)
	// An admin's own membership takes nothing away.
	exec(t, s.pool, "INSERT INTO projects.membership (project_id, person_id, role) VALUES ($1, $2, 'customer')", c.Project, c.Admin)
	want := map[string]string{"admin": "lead", "lead": "lead", "staff": "staff", "customer": "customer"}
	var audience []string
	for who, user := range c.ids {
		if user == "" {
			continue
		}
		got := scan[string](t, s.pool, "SELECT coalesce(projects.role($1::text::bigint, $2), '')", user, c.Project)
		all := scan[string](t, s.pool, `SELECT coalesce((SELECT r.role FROM projects.roles($1::text::bigint) r WHERE r.project_id = $2), '')`, user, c.Project)
		if got != want[who] || all != want[who] {
			t.Errorf("%s is %q, of all projects %q, want %q", who, got, all, want[who])
		}
		if got != "" {
			audience = append(audience, user)
		}
		for _, f := range []string{"overview($1::text::bigint, $2) -> 0", "snapshot($1::text::bigint, $2)"} {
			if shown := scan[string](t, s.pool, "SELECT coalesce(projects."+f+" ->> 'role', '')", user, c.Project); shown != want[who] {
				t.Errorf("%s of %s shows role %q, want %q", f, who, shown, want[who])
			}
		}
	}
	got := collect[string](t, s.pool, "SELECT a::text FROM projects.audience($1) a", c.Project)
	if diff := cmp.Diff(asSet(audience), asSet(got)); diff != "" {
		t.Errorf("audience (-want +got):\n%s", diff)
	}
	if got := scan[*string](t, s.pool, "SELECT projects.role($1, 999999)", c.Admin); got != nil {
		t.Errorf("an admin is %q in a project that isn't there", *got)
	}
}

func asSet(list []string) map[string]bool {
	set := make(map[string]bool, len(list))
	for _, one := range list {
		set[one] = true
	}
	return set
}
