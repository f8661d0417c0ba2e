package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"

	"github.com/trunkline/trunkline/server"
)

// configured parses a command line of serve with a file for --config, without running it.
func configured(t *testing.T, file string, env map[string]string, args ...string) (serveCmd, globals, error) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "trunkline.yaml")
	if err := os.WriteFile(name, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	var c cli
	settings := &configFile{}
	parser, err := newParser(&c, settings, newOutput(), newOutput(), func(variable string) (string, bool) {
		value, ok := env[variable]
		return value, ok
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = parser.Parse(append([]string{"serve", "--config", name}, args...))
	if settings.err != nil {
		err = settings.err
	}
	return c.Serve, c.globals, err
}

func TestFlagsWinOverVariablesOverTheFile(t *testing.T) {
	for _, test := range []struct {
		name, file, env, flag string
		want                  string
	}{
		{"nothing", "", "", "", "127.0.0.1:8000"},
		{"comments only", "# listen: 127.0.0.1:1\n", "", "", "127.0.0.1:8000"},
		{"the file", "listen: 127.0.0.1:1\n", "", "", "127.0.0.1:1"},
		{"the variable", "", "127.0.0.1:2", "", "127.0.0.1:2"},
		{"the flag", "", "", "127.0.0.1:3", "127.0.0.1:3"},
		{"the variable over the file", "listen: 127.0.0.1:1\n", "127.0.0.1:2", "", "127.0.0.1:2"},
		{"the flag over the file", "listen: 127.0.0.1:1\n", "", "127.0.0.1:3", "127.0.0.1:3"},
		{"the flag over all", "listen: 127.0.0.1:1\n", "127.0.0.1:2", "127.0.0.1:3", "127.0.0.1:3"},
	} {
		var args []string
		if test.flag != "" {
			args = []string{"--listen", test.flag}
		}
		c, _, err := configured(t, test.file, map[string]string{"TRUNKLINE_LISTEN": test.env}, args...)
		if err != nil || c.Listen != test.want {
			t.Errorf("%s: --listen is %q (%v), want %q", test.name, c.Listen, err, test.want)
		}
	}
}

func TestEveryKindOfSettingIsReadFromTheFile(t *testing.T) {
	c, g, err := configured(t, `# as an operator would write it
database-url: postgres://app@db/app
log-format: json
origin:
  - https://app.example.org
  - https://*.example.org
trusted-proxy: 10.0.0.0/8
max-frame: 2MiB
max-connections: 5000
publish-rate: 2.5
drain: 20s
jwt-secret-file: /etc/trunkline.secret
`, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"https://app.example.org", "https://*.example.org"}, c.Access.Origin); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"10.0.0.0/8"}, c.Access.TrustedProxy); diff != "" {
		t.Error(diff)
	}
	if g.DatabaseURL != "postgres://app@db/app" || g.LogFormat != "json" || c.Limits.MaxFrame != 2<<20 || c.Limits.MaxConnections != 5000 ||
		c.Limits.PublishRate != 2.5 || c.Drain != 20*time.Second || c.Access.JWTSecretFile != "/etc/trunkline.secret" {
		t.Errorf("%+v\n%+v", g, c)
	}
}

func TestTheFileMayBeNamedByAVariable(t *testing.T) {
	name := filepath.Join(t.TempDir(), "trunkline.yaml")
	if err := os.WriteFile(name, []byte("listen: nonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, said := do(t, surroundings{env: map[string]string{"TRUNKLINE_CONFIG": name}}, "serve", "--data-dir", dataDir(t))
	if code != exitUsage || !strings.Contains(said, "--listen=nonsense") {
		t.Errorf("exit code %d: %s", code, said)
	}
}

func TestWrongFilesAreRefused(t *testing.T) {
	for _, test := range []struct {
		name, file string
		says       []string
	}{
		{"an unknown key", "listen: 127.0.0.1:1\njwt-secrets: x\n", []string{"line 2", `"jwt-secrets"`, "the nearest is jwt-secret"}},
		{"a flag with its dashes", "--listen: 127.0.0.1:1\n", []string{`"--listen"`, "listen"}},
		{"a key of the command line alone", "config: other.yaml\n", []string{`no setting "config"`}},
		{"twice the same", "listen: 127.0.0.1:1\nlisten: 127.0.0.1:2\n", []string{"line 2", "listen", "twice"}},
		{"an empty value", "listen:\n", []string{"line 1", "listen", "empty"}},
		{"a list for one value", "listen: [a, b]\n", []string{"listen", "one value"}},
		{"settings for a value", "listen:\n  host: x\n", []string{"listen", "settings of its own"}},
		{"a list of lists", "origin: [[a]]\n", []string{"origin", "line 1"}},
		{"no mapping", "- listen\n", []string{"no settings", "listen: 127.0.0.1:8000"}},
		{"no YAML", "listen: [\n", []string{"not YAML", "line 1"}},
		{"a value that can't be taken", "max-frame: large\n", []string{"large", "1MiB"}},
	} {
		name := filepath.Join(t.TempDir(), "trunkline.yaml")
		if err := os.WriteFile(name, []byte(test.file), 0o600); err != nil {
			t.Fatal(err)
		}
		code, _, said := do(t, surroundings{}, "serve", "--config", name)
		if code != exitUsage {
			t.Errorf("%s: exit code %d: %s", test.name, code, said)
		}
		for _, part := range test.says {
			if !strings.Contains(said, part) {
				t.Errorf("%s: %q doesn't say %q", test.name, said, part)
			}
		}
	}
	if code, _, said := do(t, surroundings{}, "serve", "--config", "/none.yaml"); code != exitUsage || !strings.Contains(said, "/none.yaml") {
		t.Errorf("a file that isn't there: exit code %d: %s", code, said)
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]size{"1048576": 1 << 20, "1MiB": 1 << 20, "64KiB": 64 << 10, "2GiB": 2 << 30, "1000": 1000} {
		var s size
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want {
			t.Errorf("%s is %d (%v), want %d", text, s, err, want)
		}
		if err := s.UnmarshalText([]byte(s.String())); err != nil || s != want {
			t.Errorf("%s came back as %d (%v)", text, s, err)
		}
	}
	for _, text := range []string{"", "1MB", "-1", "1.5MiB", "4294967296GiB", "MiB"} {
		if err := new(size).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

// serveFlags are the flags of serve by name, without those of every command.
func serveFlags(t *testing.T) map[string]*kong.Flag {
	t.Helper()
	var c cli
	parser, err := newParser(&c, &configFile{}, newOutput(), newOutput(), func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	flags := map[string]*kong.Flag{}
	for _, node := range parser.Model.Children {
		if node.Name == "serve" {
			for _, flag := range node.Flags {
				flags[flag.Name] = flag
			}
		}
	}
	return flags
}

func TestEveryFlagOfServeIsDocumented(t *testing.T) {
	text := ""
	for _, name := range []string{"../../docs/cli.md", "../../docs/operations.md"} {
		part, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		text += string(part)
	}
	for name, flag := range serveFlags(t) {
		if !strings.Contains(text, "`--"+name+"`") && !strings.Contains(text, "`--"+name+" ") {
			t.Errorf("--%s is in neither docs/cli.md nor docs/operations.md", name)
		}
		limit := strings.HasPrefix(name, "max-") || strings.HasSuffix(name, "-rate")
		if limit && !strings.Contains(text, "| `--"+name+"` | "+flag.Default+" |") {
			t.Errorf("docs/operations.md doesn't say that the default of --%s is %s", name, flag.Default)
		}
	}
}

func TestDocumentedSettingsAreTaken(t *testing.T) {
	files := 0
	for _, name := range []string{"../../docs/cli.md", "../../docs/operations.md", "../../deploy/trunkline.yaml"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		blocks := []string{string(text)}
		if strings.HasSuffix(name, ".md") {
			blocks = nil
			for _, part := range strings.Split(string(text), "```yaml\n")[1:] {
				block, _, _ := strings.Cut(part, "```")
				blocks = append(blocks, block)
			}
		}
		for _, block := range blocks {
			files++
			c, _, err := configured(t, block, nil)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if err := c.checkListen(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if files != 3 {
		t.Errorf("%d files were tried", files)
	}
}

func TestLimitsReachTheServer(t *testing.T) {
	c, _, err := configured(t, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(server.DefaultLimits(), c.Limits.limits()); diff != "" {
		t.Errorf("without flags: %s", diff)
	}
	// Each flag sets a field of its own.
	seen := map[string]string{}
	for name := range serveFlags(t) {
		if !strings.HasPrefix(name, "max-") && !strings.HasSuffix(name, "-rate") {
			continue
		}
		c, _, err := configured(t, "", nil, "--"+name, "33554432")
		if err != nil {
			t.Fatal(err)
		}
		diff := cmp.Diff(server.DefaultLimits(), c.Limits.limits())
		if diff == "" || seen[diff] != "" {
			t.Errorf("--%s sets nothing, or the same as --%s", name, seen[diff])
		}
		seen[diff] = name
	}
	if want := reflect.TypeFor[server.Limits]().NumField(); len(seen) != want {
		t.Errorf("%d flags for %d limits", len(seen), want)
	}
}
