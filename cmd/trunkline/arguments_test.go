package main

import (
	"strings"
	"testing"
)

func TestArgumentsThatAreRefusedAsTheyStand(t *testing.T) {
	long := strings.Repeat("x", 64)
	for _, test := range []struct {
		args  []string
		stdin string
		says  string
	}{
		{[]string{"publish", "a\xffb", "1"}, "", `channel "a\xffb" is not UTF-8`},
		{[]string{"publish", "a", "\"\xff\""}, "", `payload "\"\xff\"" is not UTF-8`},
		{[]string{"publish", "--json", "a\xffb", "1"}, "", `channel "a\xffb" is not UTF-8`},
		{[]string{"publish", "a", "1", "--key", "\xff"}, "", `--key "\xff" is not UTF-8`},
		{[]string{"publish", "a", "1", "--sender=\xff"}, "", `--sender "\xff" is not UTF-8`},
		{[]string{"listen", "a", "b\xff"}, "", `channel "b\xff" is not UTF-8`},
		{[]string{"listen", "--", "b\xff"}, "", `channel "b\xff" is not UTF-8`},
		{[]string{"publish", "a"}, "\xef\xbb\xbf1", "BOM"},
		{[]string{"publish", "a", "-"}, "\"a\xff\"", "byte 3 is 0xff"},
		{[]string{"--data-dir", "", "version"}, "", "--data-dir is empty"},
		{[]string{"watches", "--database-url="}, "", "--database-url is empty"},
		{[]string{"listen", "a", "--direct-url", ""}, "", "--direct-url is empty"},
		{[]string{"publish", "a", "1", "--key", ""}, "", "--key is empty"},
		{[]string{"watch", "a", "--channel", ""}, "", "--channel is empty"},
		{[]string{"psql", "--data-dir", ""}, "", "--data-dir is empty"},
		{[]string{"listen", "a", "--count", "0"}, "", "--count=0"},
		{[]string{"history", "a", "--limit", "0"}, "", "--limit 0 is out of range: give 1 to 10000"},
		{[]string{"history", "a", "--after=-1"}, "", "--after -1 is negative"},
		{[]string{"history", "a", "--database-url=nonsense"}, "", "postgres://user@host/database"},
		{[]string{"listen", "a", "--database-url=nonsense"}, "", "postgres://user@host/database"},
		{[]string{"serve", "--database-url=nonsense"}, "", "postgres://user@host/database"},
		{[]string{"serve", "--bridge", long}, "", "1 to 63 bytes"},
		{[]string{"serve", "--bridge", "trunkline:x"}, "", "Trunkline's own"},
	} {
		code, out, said := do(t, surroundings{stdin: strings.NewReader(test.stdin)}, test.args...)
		if code != exitUsage || out != "" || !strings.Contains(said, test.says) {
			t.Errorf("%q: exit code %d: %s%s", test.args, code, out, said)
		}
	}
	// A variable that is empty is none, and empty arguments of psql's are its own.
	s := surroundings{env: map[string]string{"TRUNKLINE_DATABASE_URL": "", "TRUNKLINE_DATA_DIR": ""}}
	succeed(t, s, "version")
	if rest, err := new(app).takeOwn([]string{"-c", ""}); err != nil || len(rest) != 2 {
		t.Errorf("psql -c '': %q, %v", rest, err)
	}
}
