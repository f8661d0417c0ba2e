package schema_test

import (
	"fmt"
	"testing"
)

const parts = `CREATE TABLE part (id integer, k integer, v text, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
	CREATE TABLE part_1 PARTITION OF part FOR VALUES IN (1);
	CREATE TABLE part_2 (v text, gone int, k integer NOT NULL, id integer NOT NULL); ALTER TABLE part_2 DROP gone;
	ALTER TABLE part ATTACH PARTITION part_2 FOR VALUES IN (2);
	CREATE TABLE part_3 PARTITION OF part FOR VALUES IN (3, 4) PARTITION BY LIST (k);
	CREATE TABLE part_3_3 PARTITION OF part_3 FOR VALUES IN (3);`

func TestWatchPartitions(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.run(parts + `SELECT trunkline.watch('part', 'k:{k}', columns => '{id}', payload => 'change', truncate_channel => 't', predicate => 'v IS NULL OR v <> ''no''');
		INSERT INTO part VALUES (1, 1), (2, 2), (3, 3);
		INSERT INTO part_1 VALUES (4, 1); INSERT INTO part_2 (id, k) VALUES (5, 2); INSERT INTO part_3 VALUES (6, 3); INSERT INTO part_3_3 VALUES (7, 3);
		UPDATE part SET v = 'no' WHERE id = 1; UPDATE part SET v = 'yes' WHERE id = 2; UPDATE part_2 SET v = 'x', id = 50 WHERE id = 5`)
	const form = `k:%d {"op":"%s","table":"public.part","new":{"id":%d},"old":%s}`
	insert := func(k, id int) string { return fmt.Sprintf(form, k, "insert", id, "null") }
	update := func(k, id, from int) string {
		return fmt.Sprintf(form, k, "update", id, fmt.Sprintf(`{"id":%d}`, from))
	}
	d.want(d.messages(), insert(1, 1), insert(2, 2), insert(3, 3), insert(1, 4), insert(2, 5), insert(3, 6), insert(3, 7),
		update(2, 2, 2), update(2, 50, 5))

	d.run("TRUNCATE trunkline.message; UPDATE part SET k = 3, v = NULL WHERE id = 1")
	d.want(d.messages(), update(3, 1, 1), update(1, 1, 1))

	// A partition that is created later is announced by a remark, attended to, and let go when it is detached.
	d.want(d.remarks())
	d.run(`TRUNCATE trunkline.message; CREATE TABLE part_3_4 PARTITION OF part_3 FOR VALUES IN (4); INSERT INTO part_3_4 VALUES (8, 4)`)
	d.want(d.messages())
	d.want(d.remarks(), "partition public.part_3_4 has no trigger: run trunkline.watch_partitions()")
	d.want(d.column("SELECT trunkline.watch_partitions()"), "part_3_4")
	d.want(d.column("SELECT trunkline.watch_partitions('part')"))
	d.want(d.remarks())
	d.run(`INSERT INTO part_3_4 VALUES (9, 4); ALTER TABLE part_3 DETACH PARTITION part_3_4`)
	d.want(d.messages(), insert(4, 9))
	d.want(d.remarks(), "public.part_3_4 is no longer a partition but still watched: run trunkline.watch_partitions()")
	d.want(d.column("SELECT trunkline.watch_partitions()"), "part_3_4")
	d.run("TRUNCATE trunkline.message; INSERT INTO part_3_4 VALUES (10, 4)")
	d.want(d.messages())
	d.want(d.remarks())

	if err := d.fails("SELECT trunkline.unwatch('part_1', 'k:{k}')"); err.Hint != "It is watched as a partition of public.part." {
		t.Errorf("%v, hint %q", err, err.Hint)
	}
	d.run("SELECT trunkline.unwatch('part', 'k:{k}')")
	d.want(d.column("SELECT tgname FROM pg_trigger WHERE tgname LIKE 'trunkline%'"))
}

func TestWatchTruncateOfPartitions(t *testing.T) {
	t.Parallel()
	const all, one, two, three = `t {"op":"truncate","table":"public.part"}`, `t {"op":"truncate","table":"public.part_1"}`,
		`t {"op":"truncate","table":"public.part_2"}`, `t {"op":"truncate","table":"public.part_3"}`
	tests := []struct {
		script string
		want   []string
	}{
		{"TRUNCATE part", []string{all}},
		{"TRUNCATE part; TRUNCATE part", []string{all, all}},
		{"TRUNCATE part; TRUNCATE part_1", []string{all, one}},
		{"TRUNCATE part_1; TRUNCATE part_1", []string{one, one}},
		{"TRUNCATE part_1, part_2", []string{one, two}},
		{"TRUNCATE part_3", []string{three}},
		{"SAVEPOINT s; TRUNCATE part; ROLLBACK TO s; TRUNCATE part_1", []string{one}},
		{"ALTER TABLE part_1 DISABLE TRIGGER USER; TRUNCATE part; ALTER TABLE part_1 ENABLE TRIGGER USER; TRUNCATE part_1", []string{all, one}},
	}
	d := open(t)
	d.run(parts + "SELECT trunkline.watch('part', 'p', truncate_channel => 't')")
	for _, test := range tests {
		t.Run(test.script, func(t *testing.T) {
			d := database{T: t, conn: d.conn}
			d.run("TRUNCATE trunkline.message; BEGIN; " + test.script + "; COMMIT")
			d.want(d.messages(), test.want...)
		})
	}
}

// Rows that a trigger stops on their way to another partition leave PostgreSQL with more old rows than new ones.
func TestWatchUnpairedRows(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.run(parts + `CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
		CREATE TRIGGER stop BEFORE INSERT ON part_2 FOR EACH ROW EXECUTE FUNCTION stop();
		SELECT trunkline.watch('part', 'p', op => '{update}', payload => 'change');
		INSERT INTO part VALUES (1, 1), (2, 3); UPDATE part SET k = 2 WHERE id = 1`)
	d.want(d.messages(), `trunkline:rejected {"rejected":"a trigger stopped rows that moved between partitions: `+
		`old and new rows cannot be paired","table":"public.part","op":"update","key":null}`)
}
