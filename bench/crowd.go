package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A crowd is the WebSocket clients of one turn, all on one channel, and what reached them. It shares the machine with the
// server that is measured, so it does as little as it can: it reads sockets and looks for the numbers of messages.
type crowd struct {
	members []*member
	loop    *loop
	plain   bool // frames are bare payloads, not the Centrifuge protocol
	every   int  // one delivery in so many is timed

	ahead    chan struct{} // a token for each message that publishers may be ahead of the clients
	released int64         // tokens given back
	arrived  atomic.Int64  // deliveries, doubles not among them
	progress chan struct{} // poked when arrived grew
	failed   chan error    // the first failure

	mu       sync.Mutex
	arrivals []arrival
	once     sync.Once
}

// An arrival is when a message reached a client.
type arrival struct {
	number int
	at     time.Time
}

const (
	// handshakes are under way at once: fewer than a listening socket's backlog of 4,096, beyond which Linux drops
	// connections and lets them wait for a second.
	handshakes = 1000
	// joining is how long one client may take to be subscribed.
	joining = time.Minute
	// stalled is how long nothing may arrive before a turn fails.
	stalled = 30 * time.Second
)

// newCrowd makes room for members; plain says that the server speaks no protocol. Close it when done.
func newCrowd(members []*member, plain bool, every, ahead int) (*crowd, error) {
	c := &crowd{
		members: members, plain: plain, every: every, ahead: make(chan struct{}, ahead),
		progress: make(chan struct{}, 1), failed: make(chan error, 1),
	}
	for range ahead {
		c.ahead <- struct{}{}
	}
	var err error
	c.loop, err = newLoop(c)
	return c, err
}

// newMembers returns clients that have seen nothing yet.
func newMembers(n int) []*member {
	members := make([]*member, n)
	for i := range members {
		members[i] = &member{index: i}
	}
	return members
}

// close disconnects all. It may be called again.
func (c *crowd) close() { c.once.Do(c.loop.close) }

// join connects all members, many at once, and returns when each is subscribed and has been told the number of missed messages.
// It returns how long each one took, shortest first.
func (c *crowd) join(ctx context.Context, address, channel string, missed int) ([]time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, joining)
	defer cancel()
	took := make([]time.Duration, len(c.members))
	slots := make(chan struct{}, handshakes)
	began := time.Now()
	var wg sync.WaitGroup
	var failed error
	var once sync.Once
	for i, m := range c.members {
		slots <- struct{}{}
		if ctx.Err() != nil {
			break
		}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := c.connect(ctx, m, address, channel, missed); err != nil {
				once.Do(func() { failed = fmt.Errorf("client %d of %d: %w", i+1, len(c.members), err) })
				cancel() // the others needn't go on
				return
			}
			took[i] = time.Since(began)
		})
	}
	wg.Wait()
	if failed == nil {
		failed = context.Cause(ctx)
	}
	slices.Sort(took)
	return took, failed
}

func (c *crowd) connect(ctx context.Context, m *member, address, channel string, missed int) error {
	opened, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	conn := opened.(*net.TCPConn)
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	if err := m.subscribe(c, conn, address, channel, missed); err != nil {
		_ = conn.Close()
		return err
	}
	return c.loop.add(m, conn)
}

// count notes n new deliveries.
func (c *crowd) count(n int) {
	if n == 0 {
		return
	}
	c.mu.Lock()
	complete := c.arrived.Add(int64(n)) / int64(len(c.members))
	for ; c.released < complete; c.released++ {
		select {
		case c.ahead <- struct{}{}:
		default: // nobody took one for it
		}
	}
	c.mu.Unlock()
	select {
	case c.progress <- struct{}{}:
	default:
	}
}

// time notes when a message arrived.
func (c *crowd) time(number int, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.arrivals = append(c.arrivals, arrival{number, at})
}

func (c *crowd) fail(err error) {
	select {
	case c.failed <- err:
	default:
	}
}

// wait waits until publishers may publish one more message.
func (c *crowd) wait(ctx context.Context) error {
	select {
	case <-c.ahead:
		return nil
	case err := <-c.failed:
		c.fail(err) // for the other publishers
		return err
	case <-time.After(stalled):
		return fmt.Errorf("nothing has reached the clients for %v, after %d deliveries", stalled, c.arrived.Load())
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// await waits for a number of deliveries since newCrowd, and looks whether each member has all messages below published
// exactly once.
func (c *crowd) await(ctx context.Context, deliveries int64, published int) error {
	for c.arrived.Load() < deliveries {
		select {
		case <-c.progress:
		case err := <-c.failed:
			return err
		case <-time.After(stalled):
			return fmt.Errorf("%d of %d deliveries, and no more for %v: %w", c.arrived.Load(), deliveries, stalled, c.verify(published))
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return c.verify(published)
}

// verify looks whether each member has had all messages below published exactly once.
func (c *crowd) verify(published int) error {
	lost, doubled := c.tally(published)
	if lost == 0 && doubled == 0 {
		return nil
	}
	return fmt.Errorf("of %d messages to %d clients %d deliveries are missing and %d came twice", published, len(c.members), lost, doubled)
}

// tally counts what is missing of the messages below published, and what came more than once.
func (c *crowd) tally(published int) (lost, doubled int) {
	for _, m := range c.members {
		m.mu.Lock()
		lost += published - m.got
		doubled += m.doubled
		m.mu.Unlock()
	}
	return lost, doubled
}

// A schedule knows when each message of a turn was published. Its index is the message's number.
type schedule struct {
	mu        sync.Mutex
	called    []time.Time // when publishing began
	committed []time.Time // when its commit returned
}

// begin returns the number of the next message.
func (s *schedule) begin() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.called = append(s.called, time.Now())
	s.committed = append(s.committed, time.Time{})
	return len(s.called) - 1
}

func (s *schedule) commit(number int) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.committed[number] = now
}

// latencies returns how long the timed messages took, shortest first: from the call, and from the commit. What overtook its
// commit's own acknowledgement took no time. Everything must have been delivered.
func (s *schedule) latencies(arrivals []arrival) (fromCall, fromCommit []time.Duration) {
	for _, a := range arrivals {
		fromCall = append(fromCall, a.at.Sub(s.called[a.number]))
		fromCommit = append(fromCommit, max(0, a.at.Sub(s.committed[a.number])))
	}
	slices.Sort(fromCall)
	slices.Sort(fromCommit)
	return fromCall, fromCommit
}

// percentile returns the value below which that many of a hundred lie, in ms, of durations that are sorted.
func percentile(sorted []time.Duration, p int) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return ms(sorted[min(len(sorted)*p/100, len(sorted)-1)])
}

// enoughFiles tells what to do if so many clients can't be opened. A connection takes a file here and one in the server's
// process, and for a moment two here.
func enoughFiles(clients int) error {
	const others = 200
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("ask how many files may be open: %w", err)
	}
	// Go raises the soft limit to the hard one at start; the shell's ulimit -n sets both.
	if need := uint64(clients + min(clients, handshakes) + others); limit.Cur < need {
		return fmt.Errorf("%d clients need about %d open files, but a process may open %d: say `ulimit -n %d` in this shell first, as root or with a higher limit for this user in /etc/security/limits.conf, or measure fewer clients",
			clients, need, limit.Cur, need)
	}
	return nil
}

var errClosed = errors.New("the server closed the connection")
