package projects

import (
	"context"
	"fmt"
	"html"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline/projects/markdown"
)

// Hits are messages that a search has found, the newest first.
type Hits struct {
	Hits []Hit `json:"hits"`
	Next int64 `json:"next"` // what before is for the next page; 0: there is none
}

const (
	mostQuery = 200 // characters
	mostHits  = 100 // of a page
	mostFound = 20  // of a page, where nothing is said
)

// Characters that no text has, since they are removed from it first. What is found stands between two of them until the text around it
// is escaped; the third stands for <, after which PostgreSQL would take a text for a tag, and leave it out.
const (
	markBegins = "\uE000"
	markEnds   = "\uE001"
	lessThan   = "\uE002"
)

var (
	sentinels = strings.NewReplacer(markBegins, "", markEnds, "", lessThan, "", "<", lessThan)
	marks     = strings.NewReplacer(markBegins, "<mark>", markEnds, "</mark>", lessThan, "&lt;")
)

// Search finds messages of the person's projects that have the words of a query: as websearch_to_tsquery reads it, with "phrases",
// or, and -without. Before is the Next of the page before, or 0.
func (s *Store) Search(ctx context.Context, person int64, query string, before int64, limit int) (Hits, error) {
	query = strings.Join(strings.Fields(strings.ReplaceAll(strings.ToValidUTF8(query, " "), "\x00", " ")), " ")
	found := Hits{Hits: []Hit{}}
	switch n := utf8.RuneCountInString(query); {
	case n > mostQuery:
		return found, &InvalidError{Field: "q", Problem: fmt.Sprintf("What you look for has %d characters, and may have %d: take the words that matter.", n, mostQuery)}
	case limit == 0:
		limit = mostFound
	case limit < 1 || limit > mostHits:
		return found, &InvalidError{Field: "limit", Problem: fmt.Sprintf("A page can't have %d messages: ask for 1 to %d.", limit, mostHits)}
	}
	if query == "" {
		return found, nil
	}
	err := s.read(ctx, func(tx pgx.Tx) error {
		hits, bodies, err := findMessages(ctx, tx, person, query, before, limit+1)
		if err != nil {
			return err
		}
		if len(hits) > limit {
			hits, bodies = hits[:limit], bodies[:limit]
			found.Next = hits[limit-1].MessageID
		}
		found.Hits = hits
		return addSnippets(ctx, tx, hits, bodies, query)
	})
	return found, err
}

// findMessages returns the messages that fit, and their bodies.
func findMessages(ctx context.Context, tx pgx.Tx, person int64, query string, before int64, limit int) ([]Hit, []string, error) {
	// Which projects are the person's is asked once, and not of each message.
	const sql = `WITH mine AS MATERIALIZED (
		SELECT p.id, p.name FROM projects.roles($1) r JOIN projects.project p ON p.id = r.project_id
	)
	SELECT m.id, m.conversation_id, mine.id, mine.name, c.subject, m.seq, m.author_id, coalesce(h.name, ''), m.created_at, m.body
	FROM projects.message m
	JOIN projects.conversation c ON c.id = m.conversation_id
	JOIN mine ON mine.id = c.project_id
	LEFT JOIN projects.person h ON h.id = m.author_id
	WHERE m.search @@ websearch_to_tsquery('simple', $2) AND m.deleted_at IS NULL AND m.id < $3::bigint
	ORDER BY m.id DESC LIMIT $4`
	if before == 0 {
		before = math.MaxInt64
	}
	rows, err := tx.Query(ctx, sql, person, query, before, limit)
	if err != nil {
		return nil, nil, fmt.Errorf("search: %w", err)
	}
	bodies := []string{}
	hits, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (h Hit, err error) {
		var body string
		err = row.Scan(&h.MessageID, &h.ConversationID, &h.ProjectID, &h.ProjectName, &h.Subject, &h.Seq, &h.AuthorID, &h.AuthorName, &h.CreatedAt, &body)
		utc(&h.CreatedAt)
		bodies = append(bodies, body)
		return h, err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("search: %w", err)
	}
	return hits, bodies, nil
}

// addSnippets writes what was found, as readers see it: without the marks of Markdown.
func addSnippets(ctx context.Context, tx pgx.Tx, hits []Hit, bodies []string, query string) error {
	for i, body := range bodies {
		bodies[i] = sentinels.Replace(markdown.Read(body).Text)
	}
	const sql = `SELECT ts_headline('simple', t.body, websearch_to_tsquery('simple', $2),
			format('StartSel=%s, StopSel=%s, MaxFragments=2, MaxWords=24, MinWords=8, FragmentDelimiter=" … "', $3::text, $4::text))
		FROM unnest($1::text[]) WITH ORDINALITY t (body, at) ORDER BY t.at`
	rows, err := tx.Query(ctx, sql, bodies, query, markBegins, markEnds)
	if err != nil {
		return fmt.Errorf("search: %w", err)
	}
	snippets, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("search: %w", err)
	}
	for i, snippet := range snippets {
		hits[i].Snippet = marks.Replace(html.EscapeString(snippet))
	}
	return nil
}
