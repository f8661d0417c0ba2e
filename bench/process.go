package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A process is a contestant's server, apart from the clients, so that its memory can be told from theirs and it can be killed.
type process struct {
	cmd     *exec.Cmd
	input   io.Closer
	address string
	said    *outcry
	ended   chan struct{} // closed when it has ended
}

// starting bounds how long a contestant may take to serve, and leaving how long to end.
const (
	starting = 30 * time.Second
	leaving  = 5 * time.Second
)

// start starts a contestant and returns when it serves. Stop or kill it when done.
func (l *lab) start(ctx context.Context, o order) (*process, error) {
	o.URL, o.Channel = l.URL, crowdChannel
	if len(l.Program) == 0 {
		return nil, errors.New("bench.Options.Program is missing: it says how to start the servers to measure")
	}
	cmd := exec.Command(l.Program[0], l.Program[1:]...) //nolint:noctx // it is asked to end before it is killed
	p := &process{cmd: cmd, said: &outcry{}, ended: make(chan struct{})}
	cmd.Stderr = p.said
	input, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	p.input = input
	output, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start a server to measure: %w", err)
	}
	serving := make(chan string, 1)
	go func() {
		defer close(p.ended)
		defer close(serving)
		reader := bufio.NewReader(output)
		if address, err := reader.ReadString('\n'); err == nil {
			serving <- strings.TrimSpace(address)
		}
		_, _ = io.Copy(io.Discard, reader)
		_ = cmd.Wait()
	}()
	// The order has the password of the database, which arguments would show. If it can't be written, the process has ended.
	_ = json.NewEncoder(input).Encode(o)
	select {
	case p.address = <-serving:
		if p.address != "" {
			return p, nil
		}
		err = errors.New("it ended")
	case <-time.After(starting):
		err = fmt.Errorf("nothing for %v", starting)
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	p.kill()
	return nil, fmt.Errorf("start a server to measure: %w%s", err, p.said)
}

// stop asks it to end, and kills it if it doesn't.
func (p *process) stop() {
	_ = p.input.Close()
	select {
	case <-p.ended:
	case <-time.After(leaving):
		p.kill()
	}
}

// kill ends it as kill -9 does.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
	_ = p.input.Close()
}

// resident returns its resident memory in bytes.
func (p *process) resident() (int64, error) { return residentOf(strconv.Itoa(p.cmd.Process.Pid)) }

func (p *process) account(ctx context.Context) (a account, err error) {
	ctx, cancel := context.WithTimeout(ctx, starting)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.address+accountPath, http.NoBody)
	if err != nil {
		return a, err
	}
	request.Close = true // no connection is left for the next server at this address
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return a, err
	}
	defer response.Body.Close()
	return a, json.NewDecoder(response.Body).Decode(&a)
}

// followed waits until the article's server has all clients: it answers them before it does.
func (p *process) followed(ctx context.Context, clients int) error {
	for deadline := time.Now().Add(joining); ; {
		a, err := p.account(ctx)
		if err != nil || a.Connections == clients {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("only %d of %d clients are connected after %v", a.Connections, clients, joining)
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
}

// because adds what the process said to an error.
func (p *process) because(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w%s", err, p.said)
}

// An outcry is the beginning of what a process says on stderr: later lines tend to follow from it.
type outcry struct {
	mu   sync.Mutex
	text []byte
}

const outcryBytes = 4 << 10

func (t *outcry) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b[:min(len(b), outcryBytes-len(t.text))]...)
	return len(b), nil
}

func (t *outcry) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.text) == 0 {
		return ""
	}
	return "; it said: " + strings.TrimSpace(string(t.text))
}
