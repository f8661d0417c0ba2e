package localpg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// maxLog is the size from which on a start puts the log aside as server.log.1.
const maxLog = 16 << 20

// startOnSomePort starts the server on the wanted port, or, if none is wanted, on the remembered or a free one.
func (s *Server) startOnSomePort(ctx context.Context) error {
	if s.cfg.Port != 0 {
		s.port = s.cfg.Port
		if !portFree(s.port) {
			return failf(ErrPortTaken, "port %d of 127.0.0.1 is taken by another program: stop it (`lsof -i :%d` names it) or choose another port", s.port, s.port)
		}
		if err := s.startServer(ctx); err != nil {
			return err
		}
		return s.rememberPort()
	}
	remembered := readPort(s.dir)
	if s.port = remembered; s.port != 0 && !portFree(s.port) {
		s.log.Warn("the port used before is taken by another program: using a new one", "taken", s.port)
		s.port = 0
	}
	// Between our look at a port and the server's bind another program may take it.
	for attempt := 0; ; attempt++ {
		if s.port == 0 {
			var err error
			if s.port, err = freePort(); err != nil {
				return err
			}
		}
		err := s.startServer(ctx)
		if err == nil {
			return s.rememberPort()
		}
		if !errors.Is(err, ErrPortTaken) || attempt == 5 {
			return err
		}
		s.port = 0
	}
}

// startServer starts the server on s.port and returns when it accepts connections.
func (s *Server) startServer(ctx context.Context) error {
	if err := s.configure(); err != nil {
		return err
	}
	deadline := time.Now().Add(startTimeout)
	for {
		err := s.pgCtlStart(ctx, deadline)
		// Children of a postmaster that was killed alone end by themselves, but not at once.
		if err != nil && strings.Contains(err.Error(), "pre-existing shared memory block") && ctx.Err() == nil &&
			time.Now().Before(deadline) {
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		if err != nil {
			return err
		}
		break
	}
	pid, _ := s.running()
	if pid == 0 {
		return serverFailure("PostgreSQL ended right after its start", s.logTail(0), s.data, s.port, errors.New("no server runs"))
	}
	s.pid = pid
	if err := s.awaitReady(ctx, deadline); err != nil {
		_ = s.halt(context.WithoutCancel(ctx), syscall.SIGQUIT)
		return fmt.Errorf("PostgreSQL started, but: %w", err)
	}
	s.log.Info("PostgreSQL runs", "version", s.bin.major, "port", s.port, "pid", s.pid, "data", s.data)
	return nil
}

// pgCtlStart runs pg_ctl start, with a line of progress every 2 s while it waits.
func (s *Server) pgCtlStart(ctx context.Context, deadline time.Time) error {
	offset := s.openLog()
	wait := max(1, int(time.Until(deadline).Seconds()))
	cmd := s.account.command(ctx, s.home, s.bin.path("pg_ctl"), "start", "-D", s.data, "-l", s.LogFile(),
		"-w", "-t", strconv.Itoa(wait), "-s", "-o", "-p "+strconv.Itoa(s.port))
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return inFolder(s.bin.dir, fmt.Errorf("start PostgreSQL: %w", err))
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			if ctx.Err() != nil {
				s.abandon(context.WithoutCancel(ctx))
				return fmt.Errorf("start PostgreSQL: %w", ctx.Err())
			}
			if err == nil {
				return nil
			}
			if pid, _ := s.running(); pid != 0 {
				// Stopping it now would make it begin its recovery anew each time.
				return fmt.Errorf("PostgreSQL (pid %d) does not accept connections after %.0f s, it may still be recovering: see %s and start again",
					pid, time.Since(begin).Seconds(), s.LogFile())
			}
			return serverFailure("start PostgreSQL", out.String()+"\n"+s.logTail(offset), s.data, s.port, err)
		case <-tick.C:
			s.log.Info("waiting for PostgreSQL to start", "seconds", int(time.Since(begin).Seconds()), "log", s.LogFile())
		}
	}
}

// abandon ends the server of a start that was called off.
func (s *Server) abandon(ctx context.Context) {
	if pid, _ := readPIDFile(s.data); pid != 0 && isPostmaster(pid, s.data) {
		s.pid = pid
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		_ = s.halt(ctx, syscall.SIGQUIT)
	}
}

// awaitReady returns when the server accepts our password, is the one of this cluster, and has our database.
func (s *Server) awaitReady(ctx context.Context, deadline time.Time) error {
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := s.verify(ctx)
		var pgErr *pgconn.PgError
		starting := errors.As(err, &pgErr) && pgErr.Code == "57P03" // cannot_connect_now
		refused := errors.Is(err, syscall.ECONNREFUSED) && s.pid != 0 && alive(s.pid)
		if !starting && !refused {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("it does not accept connections yet (%w): see %s", ctx.Err(), s.LogFile())
		case <-tick.C:
		}
	}
}

// verify connects and compares the server's data folder with ours.
func (s *Server) verify(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, s.urlFor("postgres"))
	if err != nil {
		var pgErr *pgconn.PgError
		if errors.As(err, &pgErr) && pgErr.Code == "28P01" { // invalid_password
			return fmt.Errorf("the server on port %d does not take the password in %s: %w", s.port, filepath.Join(s.dir, "password"), err)
		}
		return fmt.Errorf("connect to port %d: %w", s.port, err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var data string
	if err := conn.QueryRow(ctx, "SHOW data_directory").Scan(&data); err != nil {
		return fmt.Errorf("ask the server for its data folder: %w", err)
	}
	if resolved, err := filepath.EvalSymlinks(data); err == nil {
		data = resolved
	}
	if data != s.data {
		return fmt.Errorf("the server on port %d is the one of %s, not of %s", s.port, data, s.data)
	}
	var there bool
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", database).Scan(&there); err != nil {
		return fmt.Errorf("look for database %s: %w", database, err)
	}
	if !there {
		if _, err := conn.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{database}.Sanitize()); err != nil {
			return fmt.Errorf("create database %s: %w", database, err)
		}
	}
	return nil
}

// defaults are the settings of every private cluster.
func defaults() map[string]string {
	return map[string]string{
		"listen_addresses":        "127.0.0.1",
		"unix_socket_directories": "",
		"max_connections":         "200",
		"shared_buffers":          "128MB",
		"logging_collector":       "off",
		// Not "$user": the role and Trunkline's schema are namesakes, and what people create belongs in public.
		"search_path": "public",
	}
}

var settingName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_.]*$`)

func checkSettings(settings map[string]string) error {
	for name, value := range settings {
		if !settingName.MatchString(name) || strings.ContainsAny(value, "\n\r\x00") {
			return fmt.Errorf("localpg: setting %s = %q cannot be written to postgresql.conf", name, value)
		}
		if strings.EqualFold(name, "port") || strings.EqualFold(name, "data_directory") {
			return fmt.Errorf("localpg: setting %s is not for Config.Settings to choose", name)
		}
	}
	return nil
}

// configure writes trunkline.conf, which postgresql.conf includes last; ALTER SYSTEM still comes after it.
func (s *Server) configure() error {
	settings := defaults()
	for name, value := range s.cfg.Settings {
		settings[strings.ToLower(name)] = value
	}
	names := make([]string, 0, len(settings))
	for name := range settings {
		names = append(names, name)
	}
	slices.Sort(names)
	var b strings.Builder
	b.WriteString("# Written anew at each start by Trunkline. Your own settings: ALTER SYSTEM SET.\n")
	fmt.Fprintf(&b, "port = %d\n", s.port)
	for _, name := range names {
		fmt.Fprintf(&b, "%s = '%s'\n", name, strings.ReplaceAll(strings.ReplaceAll(settings[name], `\`, `\\`), "'", "''"))
	}
	path := filepath.Join(s.data, "trunkline.conf")
	if err := writeFile(path, b.String()); err != nil {
		return err
	}
	return s.give(path)
}

// give makes the server's user the owner of a file of the cluster.
func (s *Server) give(path string) error {
	if !s.account.switches {
		return nil
	}
	if err := os.Chown(path, s.account.uid, s.account.gid); err != nil {
		return fmt.Errorf("give %s to %s: %w", path, s.account.name, err)
	}
	return nil
}

// openLog puts a log that has grown large aside and returns where the next start begins to write.
func (s *Server) openLog() int64 {
	info, err := os.Stat(s.LogFile())
	if err != nil {
		return 0
	}
	if info.Size() > maxLog && os.Rename(s.LogFile(), s.LogFile()+".1") == nil {
		return 0
	}
	return info.Size()
}

// logTail is what the server wrote from offset on, at most the last 16 kB of it.
func (s *Server) logTail(offset int64) string {
	f, err := os.Open(s.LogFile())
	if err != nil {
		return ""
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil {
		offset = max(offset, info.Size()-16<<10)
	}
	text, _ := io.ReadAll(io.NewSectionReader(f, offset, 16<<10))
	return string(text)
}

func readPort(dir string) int {
	text, err := os.ReadFile(filepath.Join(dir, "port"))
	if err != nil {
		return 0
	}
	port, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || port < 1 || port > 65535 {
		return 0
	}
	return port
}

func (s *Server) rememberPort() error {
	if readPort(s.dir) == s.port {
		return nil
	}
	return writeFile(filepath.Join(s.dir, "port"), strconv.Itoa(s.port)+"\n")
}

func portFree(port int) bool {
	l, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))) //nolint:noctx // does not block
	if err != nil {
		return false
	}
	_ = l.Close()
	return true
}

// freePort chooses a port below the range from which systems draw those of outgoing connections: one of these must not
// take the server's place while it restarts.
func freePort() (int, error) {
	for range 100 {
		if port := 20000 + rand.IntN(12000); portFree(port) {
			return port, nil
		}
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0") //nolint:noctx // does not block
	if err != nil {
		return 0, fmt.Errorf("no free port on 127.0.0.1: %w", err)
	}
	defer l.Close()
	addr, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return 0, fmt.Errorf("no free port on 127.0.0.1: listening on %s", l.Addr())
	}
	return addr.Port, nil
}
