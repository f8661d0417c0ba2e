package localpg

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
)

// Runs reports whether the postmaster that this Server knows still runs on the cluster. It costs a look at a file and
// at a process; while the server is being revived it waits.
func (s *Server) Runs() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	pid, _ := s.running()
	return pid != 0 && pid == s.pid
}

// Revive brings the server back after it ended without Stop: it adopts one that somebody else has started since, and
// otherwise starts it on the port it had. It returns when the server accepts connections, and reports whether this call
// started it. If the known server runs, nothing is done. Of several processes that revive at once one starts the server.
//
// Port and URL change only if somebody else started it with others. Errors: as of Start.
func (s *Server) Revive(ctx context.Context) (revived bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.use == nil {
		return false, errors.New("revive PostgreSQL: it was stopped or released")
	}
	starting, err := lockStart(ctx, s.dir, s.log)
	if err != nil {
		return false, err
	}
	defer starting.release()
	if !s.use.isAt(filepath.Join(s.dir, "lock")) {
		return false, failf(ErrNotRunning, "the data folder %s was deleted or replaced: start `trunkline serve` again", s.dir)
	}
	pid, _ := s.running()
	if pid != 0 && pid == s.pid {
		return false, nil
	}
	adopted, known := s.adopted, s.pid
	defer func() {
		s.adopted = adopted // what Start found
		if err != nil {
			s.pid = known
		}
	}()
	if pid != 0 {
		err = s.adopt(ctx)
		// One that was on its way down when it was met is started anew.
		if pid, _ = s.running(); pid == 0 && ctx.Err() == nil {
			err = nil
		}
	}
	if err == nil && pid == 0 {
		err = s.startRevived(ctx)
		revived = err == nil
	}
	if err != nil {
		return false, err
	}
	if url, err := ReadURL(s.dir); err != nil || url != s.urlFor(database) {
		if err := writeFile(filepath.Join(s.dir, "url"), s.urlFor(database)+"\n"); err != nil {
			return revived, err
		}
	}
	return revived, nil
}

// startRevived starts the server, which died, where it was.
func (s *Server) startRevived(ctx context.Context) error {
	major, err := clusterMajor(s.data)
	if err != nil {
		return err
	}
	if major == 0 {
		return failf(ErrNotRunning, "%s holds no cluster any more: start `trunkline serve` again for a new one", s.data)
	}
	if s.bin.major != major || !completeDir(s.bin.dir) {
		if s.bin, err = s.chooseBinaries(ctx, major); err != nil {
			return err
		}
	}
	password, err := readPassword(s.dir)
	if err != nil {
		return err
	}
	if password != "" {
		s.password = password
	}
	if err := dropStalePIDFile(s.data, s.log); err != nil {
		return err
	}
	if err := s.startServer(ctx); err != nil {
		return fmt.Errorf("revive PostgreSQL: %w", err)
	}
	return nil
}
