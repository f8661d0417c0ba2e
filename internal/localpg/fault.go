package localpg

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"
)

// Restart stops the server and starts it on the same port. Mode is pg_ctl's: "fast" breaks off transactions and ends
// orderly, "immediate" ends at once, and the start then recovers from the WAL.
func (s *Server) Restart(ctx context.Context, mode string) error {
	var how syscall.Signal
	switch mode {
	case "fast":
		how = syscall.SIGINT
	case "immediate":
		how = syscall.SIGQUIT
	default:
		return fmt.Errorf("restart: mode %q is neither fast nor immediate", mode)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.mayStart(); err != nil {
		return fmt.Errorf("restart: %w", err)
	}
	if err := s.halt(ctx, how); err != nil {
		return fmt.Errorf("restart: %w", err)
	}
	// A stop that took too long was made by SIGKILL.
	if err := dropStalePIDFile(s.data, s.log); err != nil {
		return fmt.Errorf("restart: %w", err)
	}
	if err := s.startServer(ctx); err != nil {
		return fmt.Errorf("restart: %w", err)
	}
	return nil
}

// Kill ends the postmaster and all its children with SIGKILL and returns when they are gone: what a power cut does,
// except that the kernel keeps what was written. StartAgain, or a later Start, brings the server back.
func (s *Server) Kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pid == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := killTree(ctx, s.pid, s.data); err != nil {
		return err
	}
	s.pid = 0
	return nil
}

// StartAgain starts the server on its port after Kill.
func (s *Server) StartAgain(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pid != 0 {
		return fmt.Errorf("start again: the server (pid %d) runs", s.pid)
	}
	if err := s.mayStart(); err != nil {
		return fmt.Errorf("start again: %w", err)
	}
	if err := dropStalePIDFile(s.data, s.log); err != nil {
		return err
	}
	if err := s.startServer(ctx); err != nil {
		return fmt.Errorf("start again: %w", err)
	}
	return nil
}

func (s *Server) mayStart() error {
	if s.use == nil {
		return errors.New("the server was stopped or released")
	}
	if s.bin.dir == "" {
		return errors.New("the adopted server does not say where its binaries are")
	}
	return nil
}
