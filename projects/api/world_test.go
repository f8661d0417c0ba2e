package api

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline/projects"
)

// who are those who try everything, in the order of the columns of the matrix.
var who = []string{"customer", "staff", "lead", "admin", "colleague", "other customer", "other staff"}

// barred are those who have no session that counts.
var barred = []string{"stranger", "forged", "expired", "deactivated"}

// cast are the people of the matrix, with a session each.
type cast struct {
	*node
	north, south int64 // organisations
	people       map[string]int64
	callers      map[string]*caller
}

func newCast(t testing.TB) *cast {
	t.Helper()
	c := &cast{node: newNode(t), people: map[string]int64{}, callers: map[string]*caller{}}
	c.north, c.south = c.organisation("North"), c.organisation("South")
	for name, organisation := range map[string]int64{
		"customer": 0, "staff": c.north, "lead": c.north, "admin": c.north, "colleague": c.north, "deactivated": c.north,
		"other customer": 0, "other staff": c.south,
	} {
		c.people[name] = c.person(organisation, strings.ReplaceAll(name, " ", "-")+"@example.com", "")
		c.callers[name] = c.as(c.people[name])
	}
	c.exec("UPDATE projects.person SET admin = true WHERE id = $1", c.people["admin"])
	// The session's row stays there, so that it is not what keeps them out.
	c.exec("ALTER TABLE projects.person DISABLE TRIGGER USER")
	c.exec("UPDATE projects.person SET deactivated_at = now() WHERE id = $1", c.people["deactivated"])
	c.exec("ALTER TABLE projects.person ENABLE TRIGGER USER")
	c.callers["stranger"] = c.stranger()
	c.callers["forged"] = c.stranger()
	c.callers["forged"].cookie = strings.Repeat("A", 43)
	c.callers["expired"] = c.as(c.people["lead"])
	c.exec("UPDATE projects.session SET expires_at = now() WHERE token_hash = sha256(convert_to($1, 'UTF8'))", c.callers["expired"].cookie)
	return c
}

// world is a project and what is in it, by the names that paths and bodies of the matrix call it.
type world map[string]string

func (w world) fill(template string) string {
	for name, id := range w {
		template = strings.ReplaceAll(template, "{"+name+"}", id)
	}
	return template
}

var worlds int

// newWorld makes a project of North with plain SQL.
func (c *cast) newWorld() world {
	c.t.Helper()
	return c.worldOf(c.north, map[string]projects.Role{"lead": projects.Lead, "staff": projects.Staff, "customer": projects.Customer, "deactivated": projects.Staff},
		"lead", "staff", "customer", "other customer")
}

// newOtherWorld makes one of South.
func (c *cast) newOtherWorld() world {
	c.t.Helper()
	return c.worldOf(c.south, map[string]projects.Role{"other staff": projects.Lead, "other customer": projects.Customer},
		"other staff", "other staff", "other customer", "colleague")
}

// worldOf makes a project in which lead, staff and customer have done something, and invited was invited.
func (c *cast) worldOf(organisation int64, members map[string]projects.Role, lead, staff, customer, invited string) world {
	c.t.Helper()
	worlds++
	w := world{}
	for name, id := range c.people {
		w[name] = fmt.Sprint(id)
	}
	set := func(name, sql string, args ...any) int64 {
		c.t.Helper()
		id := scan[int64](c.t, c.pool, sql+" RETURNING id", args...)
		w[name] = fmt.Sprint(id)
		return id
	}
	project := set("project", "INSERT INTO projects.project (organisation_id, name) VALUES ($1, 'Website')", organisation)
	for name, role := range members {
		c.member(project, c.people[name], role)
	}
	leader, helper, guest := c.people[lead], c.people[staff], c.people[customer]
	milestone := set("milestone", "INSERT INTO projects.milestone (project_id, name, rank) VALUES ($1, 'Design', 1)", project)
	set("task", "INSERT INTO projects.task (project_id, milestone_id, title, rank) VALUES ($1, $2, 'Logo', 1)", project, milestone)
	set("done", `INSERT INTO projects.task (project_id, title, rank, completed_at, completed_by) VALUES ($1, 'Colours', 2, now(), $2)`, project, leader)
	conversation := set("conversation", `INSERT INTO projects.conversation (project_id, subject, last_seq, last_message_at)
		VALUES ($1, 'General', 2, now())`, project)
	const say = `INSERT INTO projects.message (conversation_id, seq, author_id, client_key, body, html)
		VALUES ($1, $2, $3, gen_random_uuid(), 'secret', '<p>secret</p>')`
	question := set("question", say, conversation, 1, guest)
	set("answer", say, conversation, 2, helper)
	const file = `INSERT INTO projects.attachment (conversation_id, message_id, uploaded_by, name, media_type, size, content)
		VALUES ($1, $2, $3, 'a.txt', 'text/plain; charset=utf-8', 6, 'secret')`
	set("file", file, conversation, question, guest)
	set("unsent", file, conversation, nil, helper)
	invite := func(name, email string, role projects.Role) {
		id, secret := c.node.invitation(project, leader, email, role)
		c.exec("UPDATE projects.invitation SET created_at = now() - interval '1 hour' WHERE id = $1", id)
		w[name], w[name+" link"] = fmt.Sprint(id), secret
	}
	invite("invitation", fmt.Sprintf("new-%d@example.com", worlds), projects.Customer)
	invite("staff invitation", fmt.Sprintf("colleague-%d@example.com", worlds), projects.Staff)
	invite("invited", strings.ReplaceAll(invited, " ", "-")+"@example.com", projects.Customer)
	return w
}

// dump is all there is, but for what using a session leaves behind.
func (c *cast) dump() map[string]string {
	c.t.Helper()
	rows, err := c.pool.Query(testContext(c.t), `SELECT relname::text FROM pg_class
		WHERE relnamespace = 'projects'::regnamespace AND relkind = 'r' AND relname NOT IN ('session', 'attempt')`)
	if err != nil {
		c.t.Fatal(err)
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		c.t.Fatal(err)
	}
	var parts []string
	for _, table := range tables {
		parts = append(parts, fmt.Sprintf("SELECT '%[1]s', coalesce(md5(string_agg(t::text, chr(10) ORDER BY t::text)), '') FROM projects.%[1]s t", table))
	}
	for _, table := range []string{"message", "notification"} {
		parts = append(parts, fmt.Sprintf("SELECT 'trunkline.%[1]s', count(*)::text FROM trunkline.%[1]s", table))
	}
	// As the person's last activity is noted beside, what is left is what requests change.
	rows, err = c.pool.Query(testContext(c.t), strings.Join(parts, " UNION ALL "))
	if err != nil {
		c.t.Fatal(err)
	}
	dump := map[string]string{}
	var table, sum string
	if _, err := pgx.ForEachRow(rows, []any{&table, &sum}, func() error { dump[table] = sum; return nil }); err != nil {
		c.t.Fatal(err)
	}
	return dump
}
