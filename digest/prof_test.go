package digest

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline/digest/mail"
	"github.com/trunkline/trunkline/internal/pgtest"
)

func cpu(t *testing.T, conn *pgx.Conn) (pg, self float64) {
	var dir string
	conn.QueryRow(t.Context(), "SHOW data_directory").Scan(&dir)
	text, _ := os.ReadFile(dir + "/postmaster.pid")
	postmaster := strings.Fields(string(text))[0]
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, f := range stats {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		fields := strings.Fields(string(b)[strings.LastIndex(string(b), ")")+1:])
		u, _ := strconv.Atoi(fields[11])
		k, _ := strconv.Atoi(fields[12])
		if fields[1] == postmaster {
			pg += float64(u+k) / 100
		}
	}
	b, _ := os.ReadFile("/proc/self/stat")
	fields := strings.Fields(string(b)[strings.LastIndex(string(b), ")")+1:])
	u, _ := strconv.Atoi(fields[11])
	k, _ := strconv.Atoi(fields[12])
	return pg, float64(u+k) / 100
}

func TestProfile(t *testing.T) {
	if os.Getenv("PROFILE") == "" {
		t.Skip()
	}
	url := pgtest.Database(t)
	conn := pgtest.Connect(t, url)
	var db string
	conn.QueryRow(t.Context(), "SELECT current_database()").Scan(&db)
	if _, err := conn.Exec(t.Context(), "ALTER DATABASE "+db+" SET track_functions = 'all'"); err != nil {
		t.Fatal(err)
	}
	pool := pgtest.Pool(t, url)
	populate(t, pool, 5000, 10)
	renderer, err := mail.New(mail.Options{Site: "Example Projects", From: "mail@example.org", PublicURL: "https://example.org"})
	if err != nil {
		t.Fatal(err)
	}
	worker, err := New(pool, Options{Renderer: renderer, Sender: discard{}})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	pg0, self0 := cpu(t, conn)
	if _, err := worker.Once(t.Context(), noon); err != nil {
		t.Fatal(err)
	}
	pg1, self1 := cpu(t, conn)
	t.Logf("%v wall, CPU: postgres %.2f s, self %.2f s", time.Since(began), pg1-pg0, self1-self0)
	pool.Close()
	time.Sleep(time.Second)
	rows, _ := conn.Query(t.Context(), "SELECT funcname, calls, total_time::int, self_time::int FROM pg_stat_user_functions ORDER BY self_time DESC")
	type f struct {
		Name        string
		Calls       int64
		Total, Self int
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[f])
	t.Log(err)
	for _, x := range list {
		t.Logf("%+v", x)
	}
}
