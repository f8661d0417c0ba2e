package main

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline/internal/localpg"
)

type psqlCmd struct {
	Args []string `arg:"" optional:"" help:"What to pass to psql."`
}

func (*psqlCmd) Help() string {
	return `Everything behind the command goes to psql, except Trunkline's own flags; behind -- those too.

    trunkline psql
    trunkline psql -c 'SELECT * FROM trunkline.channels'
    trunkline psql --data-dir ./data -f tables.sql
    trunkline psql -- --help`
}

func (c *psqlCmd) Run(_ context.Context, a *app, parsed *kong.Context) error {
	args, err := a.takeOwn(c.Args)
	if err != nil {
		return err
	}
	if len(args) > 0 && args[0] == "--help" && len(c.Args) > 0 && c.Args[0] == "--help" {
		return parsed.PrintUsage(false)
	}
	database, err := a.url()
	if err != nil {
		return err
	}
	env, err := psqlEnv(database)
	if err != nil {
		return err
	}
	path, err := findPsql()
	if err != nil {
		return err
	}
	if err := syscall.Exec(path, append([]string{"psql"}, args...), append(withoutPG(os.Environ()), env...)); err != nil {
		return fmt.Errorf("run %s: %w", path, err)
	}
	return nil
}

// takeOwn takes Trunkline's own flags out of what stands behind the command; psql has none of these names.
func (a *app) takeOwn(args []string) ([]string, error) {
	own := map[string]*string{"--database-url": &a.DatabaseURL, "--data-dir": &a.DataDir, "--direct-url": &a.DirectURL, "--log-level": &a.LogLevel, "--log-format": &a.LogFormat}
	var rest []string
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		if arg == "--" {
			return append(rest, args...), nil
		}
		name, value, joined := strings.Cut(arg, "=")
		target := own[name]
		if target == nil {
			rest = append(rest, arg)
			continue
		}
		if !joined {
			if len(args) == 0 {
				return nil, usagef("%s needs a value", name)
			}
			value, args = args[0], args[1:]
		}
		if err := checkFlagValue(strings.TrimPrefix(name, "--"), value); err != nil {
			return nil, err
		}
		*target = value
	}
	return rest, nil
}

// findPsql looks for psql on the PATH, then beside the server's programs.
func findPsql() (string, error) {
	if path, err := exec.LookPath("psql"); err == nil {
		return filepath.Abs(path)
	}
	if dir, _, err := localpg.FindBinaries(); err == nil {
		if path, err := exec.LookPath(filepath.Join(dir, "psql")); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("psql is not installed: apt-get install postgresql-client, dnf install postgresql, or brew install libpq")
}

// psqlEnv says how to connect in libpq's variables: a password on the command line could be read by every user, and psql's
// own arguments (another database, another user) keep their meaning.
func psqlEnv(database string) ([]string, error) {
	config, err := parseURL(database, "--database-url")
	if err != nil {
		return nil, err
	}
	hosts, ports := hostsOf(config)
	env := []string{"PGHOST=" + strings.Join(hosts, ","), "PGPORT=" + strings.Join(ports, ","), "PGUSER=" + config.User}
	if config.Database != "" {
		env = append(env, "PGDATABASE="+config.Database)
	}
	if config.Password != "" {
		env = append(env, "PGPASSWORD="+config.Password)
	}
	for name, variable := range map[string]string{
		"sslmode": "PGSSLMODE", "sslrootcert": "PGSSLROOTCERT", "sslcert": "PGSSLCERT", "sslkey": "PGSSLKEY", "sslsni": "PGSSLSNI",
		"options": "PGOPTIONS", "connect_timeout": "PGCONNECT_TIMEOUT", "target_session_attrs": "PGTARGETSESSIONATTRS",
	} {
		if value := parameter(database, name); value != "" {
			env = append(env, variable+"="+value)
		}
	}
	return env, nil
}

// hostsOf lists the hosts of a connection string once each, in order.
func hostsOf(config *pgx.ConnConfig) (hosts, ports []string) {
	var seen []string
	add := func(host string, port uint16) {
		p := strconv.Itoa(int(port))
		if at := net.JoinHostPort(host, p); !slices.Contains(seen, at) {
			seen, hosts, ports = append(seen, at), append(hosts, host), append(ports, p)
		}
	}
	add(config.Host, config.Port)
	for _, fallback := range config.Fallbacks {
		add(fallback.Host, fallback.Port)
	}
	return hosts, ports
}

// parameter returns a parameter of a connection string, "" if it isn't there.
func parameter(database, name string) string {
	if u, err := url.Parse(database); err == nil && u.Scheme != "" {
		return u.Query().Get(name)
	}
	for _, word := range strings.Fields(database) {
		if key, value, ok := strings.Cut(word, "="); ok && key == name {
			return strings.Trim(value, "'")
		}
	}
	return ""
}

// withoutPG leaves out what would name another database than ours.
func withoutPG(env []string) []string {
	return slices.DeleteFunc(env, func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		switch name {
		case "PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGUSER", "PGPASSWORD", "PGPASSFILE", "PGSERVICE", "PGSERVICEFILE",
			"PGSSLMODE", "PGOPTIONS":
			return true
		}
		return false
	})
}
