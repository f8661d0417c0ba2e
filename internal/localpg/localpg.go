// Package localpg finds or fetches PostgreSQL and runs a private cluster of it: the one behind `trunkline serve` when
// no database is named, and the one behind the tests.
//
// A cluster lives in a folder (Config.Dir):
//
//	DIR/url          how to connect, one line, mode 0600; there while the server runs
//	DIR/password     the password of role trunkline, mode 0600
//	DIR/port         the port to use again
//	DIR/lock         a shared flock per process that uses the server
//	DIR/start.lock   an exclusive flock while a process starts or stops it
//	DIR/postgres/    data (PGDATA) and server.log; a symlink when DIR is out of the server's reach
//
// The server is not our child in any sense that matters: it survives a kill -9 of the process that started it, and the
// next Start adopts it. The last process to Stop takes it down.
package localpg

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

const (
	role     = "trunkline"
	database = "trunkline"

	// startTimeout bounds the wait for a server to accept connections; recovery after a crash counts.
	startTimeout = 60 * time.Second
	// fastTimeout bounds a fast stop, immediateTimeout the immediate one that follows: together under the 5 s in which
	// a program must have ended after SIGTERM.
	fastTimeout      = 4 * time.Second
	immediateTimeout = 300 * time.Millisecond
)

// Config says where a private cluster lives and how it is started.
type Config struct {
	// Dir is the data folder. It is made if missing.
	Dir string
	// BinDir is the folder with initdb, postgres and pg_ctl. Empty: TRUNKLINE_PG_BIN_DIR, else what FindBinaries finds,
	// else they are fetched.
	BinDir string
	// Port on 127.0.0.1. 0: the remembered one if it is free, else a free one.
	Port int
	// Settings of postgresql.conf on top of the defaults.
	Settings map[string]string
	// Logger may be nil: nothing is logged then.
	Logger *slog.Logger
	// MirrorURL is where PostgreSQL is fetched from. Empty: TRUNKLINE_PG_MIRROR, else Maven Central.
	MirrorURL string
	// CacheDir keeps what was fetched. Empty: /var/lib/trunkline for root, else the user's cache folder.
	CacheDir string
}

// Server is a running private cluster and this process's use of it. It is safe for concurrent use.
type Server struct {
	cfg     Config
	log     *slog.Logger
	dir     string
	home    string // DIR/postgres with symlinks resolved
	data    string // PGDATA
	account account

	mu       sync.Mutex
	bin      binaries
	pid      int
	port     int
	password string
	adopted  bool
	use      *fileLock // shared; nil once let go
}

// Start runs the cluster in cfg.Dir: it makes it if needed, adopts it if it runs already, and starts it otherwise.
// It returns when the server accepts connections, within about a minute, or when ctx ends.
//
// Errors: ErrNoBinaries, ErrOtherMajor, ErrPortTaken, ErrDiskFull, or others that carry the end of the server's log.
func Start(ctx context.Context, cfg Config) (_ *Server, err error) {
	if cfg.Dir == "" {
		return nil, errors.New("localpg: Config.Dir is empty")
	}
	if cfg.Port < 0 || cfg.Port > 65535 {
		return nil, fmt.Errorf("localpg: port %d is not between 0 and 65535", cfg.Port)
	}
	if err := checkSettings(cfg.Settings); err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("data folder %s: %w", cfg.Dir, err)
	}
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	s := &Server{cfg: cfg, dir: dir, log: cfg.Logger}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}

	starting, err := lockStart(ctx, dir, s.log)
	if err != nil {
		return nil, err
	}
	defer starting.release()
	if s.use, err = lockShared(filepath.Join(dir, "lock")); err != nil {
		return nil, inFolder(dir, err)
	}
	defer func() {
		if err != nil {
			s.use.release()
		}
	}()

	if err := s.settle(); err != nil {
		return nil, err
	}
	if err := s.adoptOrBoot(ctx); err != nil {
		return nil, err
	}
	if err := writeFile(filepath.Join(dir, "url"), s.URL()+"\n"); err != nil {
		return nil, err
	}
	return s, nil
}

// settle decides where the cluster lives and which user runs it, and clears away what an interrupted start left.
func (s *Server) settle() error {
	var err error
	if s.account, err = ownAccount(); err != nil {
		return err
	}
	if s.home, err = makeHome(s.dir, &s.account, s.log); err != nil {
		return err
	}
	s.data = filepath.Join(s.home, "data")
	return sweepInits(s.home)
}

func (s *Server) adoptOrBoot(ctx context.Context) error {
	if pid, _ := s.running(); pid != 0 {
		err := s.adopt(ctx)
		// One that was on its way down when it was met is started anew.
		if pid, _ := s.running(); pid != 0 || ctx.Err() != nil {
			return err
		}
		s.adopted = false
	}
	return s.boot(ctx)
}

// boot starts the server in a folder where none runs, after making the cluster if there is none.
func (s *Server) boot(ctx context.Context) error {
	major, err := clusterMajor(s.data)
	if err != nil {
		return err
	}
	if s.bin, err = s.chooseBinaries(ctx, major); err != nil {
		return err
	}
	if major == 0 {
		if err := s.initCluster(ctx); err != nil {
			return err
		}
	} else if err := s.recallPassword(ctx); err != nil {
		return err
	}
	if err := dropStalePIDFile(s.data, s.log); err != nil {
		return err
	}
	return s.startOnSomePort(ctx)
}

// adopt takes over a server that runs already: started by another process, or left by one that was killed.
func (s *Server) adopt(ctx context.Context) error {
	pid, port := s.running()
	password, err := readPassword(s.dir)
	if err != nil {
		return err
	}
	if password == "" {
		return fmt.Errorf("a server (pid %d) runs on %s, but %s is missing: stop that server (kill -INT %d) and start again",
			pid, s.data, filepath.Join(s.dir, "password"), pid)
	}
	s.pid, s.port, s.password, s.adopted = pid, port, password, true
	s.bin = binariesOf(s.data)
	if err := s.awaitReady(ctx, time.Now().Add(startTimeout)); err != nil {
		return fmt.Errorf("server (pid %d) that runs on %s: %w", pid, s.data, err)
	}
	if s.pid, s.port = s.running(); s.pid == 0 {
		return fmt.Errorf("server (pid %d) on %s ended while it was adopted: start again", pid, s.data)
	}
	if s.cfg.Port != 0 && s.cfg.Port != s.port {
		s.log.Warn("PostgreSQL runs already on another port; the wanted one counts from its next start",
			"port", s.port, "wanted", s.cfg.Port)
	}
	s.log.Info("adopted the running PostgreSQL", "pid", s.pid, "port", s.port, "data", s.data)
	return nil
}

// URL connects to the database trunkline as its owner, a superuser of the private cluster.
func (s *Server) URL() string { return s.URLFor(database) }

// URLFor is URL for another database of the cluster.
func (s *Server) URLFor(database string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.urlFor(database)
}

func (s *Server) urlFor(database string) string {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(role, s.password),
		Host:     net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)),
		Path:     "/" + database,
		RawQuery: "sslmode=disable",
	}
	return u.String()
}

// Adopted reports whether Start found the server running.
func (s *Server) Adopted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.adopted
}

// DataDir is the server's PGDATA, symlinks resolved.
func (s *Server) DataDir() string { return s.data }

// LogFile is where the server writes its log.
func (s *Server) LogFile() string { return filepath.Join(s.home, "server.log") }

// BinDir is the folder of the binaries that run the server.
func (s *Server) BinDir() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bin.dir
}

// Major is the server's major version, such as 17.
func (s *Server) Major() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bin.major
}

// Port is where the server listens on 127.0.0.1.
func (s *Server) Port() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.port
}

// PID is the postmaster's process id, 0 while it is stopped.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pid
}

// Stop lets go of the server and, if no other process uses this folder, stops it: at first the fast way, and after 4 s
// or when ctx ends, the immediate way. It stops what runs on the cluster now, whoever started that. A second Stop, and a
// Stop after Release, does nothing.
func (s *Server) Stop(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.use == nil {
		return nil
	}
	defer func() { s.use = nil }()
	defer s.use.release()

	if !s.use.isAt(filepath.Join(s.dir, "lock")) {
		// The folder was deleted or replaced: what is there now belongs to others.
		return s.halt(ctx, syscall.SIGINT)
	}
	// Whoever holds start.lock for longer than a moment is starting up here, so uses the server: leave it to them.
	wait, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	starting, err := lockStart(wait, s.dir, s.log)
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		s.log.Info("PostgreSQL is left to another process, which is starting it", "data", s.data)
		return nil
	}
	if err != nil {
		return err
	}
	defer starting.release()
	alone, err := s.use.upgrade()
	if err != nil {
		return inFolder(s.dir, err)
	}
	pid, _ := s.running()
	switch {
	case !alone && pid != 0:
		s.log.Info("PostgreSQL goes on: another process uses it", "data", s.data)
		return nil
	case !alone:
		s.log.Info("PostgreSQL does not run; another process uses its folder too, and may start it", "data", s.data)
		return nil
	}
	if err := os.Remove(filepath.Join(s.dir, "url")); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.log.Warn("the url file stays behind", "error", err)
	}
	if pid == 0 {
		s.pid = 0
		s.log.Info("PostgreSQL did not run any more", "data", s.data)
		return nil
	}
	s.pid = pid
	if err := s.halt(ctx, syscall.SIGINT); err != nil {
		return err
	}
	s.log.Info("PostgreSQL was stopped", "pid", pid, "data", s.data)
	return nil
}

// Release lets go of the server without stopping it. The next Start adopts it.
func (s *Server) Release() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.use != nil {
		s.use.release()
		s.use = nil
	}
	return nil
}
