package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// driver is a Node program that holds clients: itself, or in pages of a Chromium.
type driver struct {
	name    string
	site    string // origin of the page, "" in Node
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	errors  *output
	ended   chan struct{} // closed when its output has ended
	counter atomic.Int64

	certificate certificate // that it trusts

	mu      sync.Mutex
	answers map[int64]chan answer
	clients map[string]*client
}

type answer struct {
	ID     int64           `json:"id"`
	Result json.RawMessage `json:"result"`
	Error  *failure        `json:"error"`
}

// failure is an error as clients get it.
type failure struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

func (f *failure) Error() string { return fmt.Sprintf("%d: %s", f.Code, f.Message) }

// startDriver starts client/PROGRAM.js. Chromium is what the latter is to run.
func startDriver(t testing.TB, program, site, chromium string) *driver {
	t.Helper()
	needModules(t)
	d := &driver{
		name: program, site: site, answers: make(map[int64]chan answer), clients: make(map[string]*client),
		ended: make(chan struct{}), errors: newOutput(), certificate: newCertificate(t),
	}
	d.cmd = exec.Command(need(t, "node"), "client/"+program+".js", chromium)
	d.cmd.Env = append(os.Environ(), "NODE_EXTRA_CA_CERTS="+d.certificate.file)
	dieWithUs(d.cmd)
	d.cmd.Stderr = d.errors
	stdout, err := d.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if d.stdin, err = d.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go d.read(t, stdout)
	t.Cleanup(func() {
		_ = d.stdin.Close() // tells it to end
		select {
		case <-d.ended:
		case <-time.After(patience):
			t.Errorf("%s didn't end", program)
			_ = d.cmd.Process.Kill()
			<-d.ended
		}
		_ = d.cmd.Wait()
		if text := d.errors.tail(); text != "" {
			t.Logf("%s said:\n%s", program, text)
		}
	})
	return d
}

// inNode runs the SDK in Node.
func inNode(t testing.TB) *driver { return startDriver(t, "node", "", "") }

// inChromium runs the SDK in pages of a browser.
func inChromium(t testing.TB) *driver {
	files := http.NewServeMux()
	files.Handle("/", http.FileServer(http.Dir("client")))
	for _, name := range []string{"centrifuge.js", "centrifuge.protobuf.js"} {
		files.HandleFunc("/"+name, func(w http.ResponseWriter, r *http.Request) {
			http.ServeFile(w, r, "node_modules/centrifuge/dist/"+name)
		})
	}
	site := httptest.NewServer(files)
	t.Cleanup(site.Close)
	// Another host than the server's, by its name: the page is a foreign one, which the server has to be told of.
	origin := strings.Replace(site.URL, "127.0.0.1", "localhost", 1)
	return startDriver(t, "chromium", origin, need(t, "chromium", "chromium-browser", "google-chrome", "Chromium"))
}

func (d *driver) read(t testing.TB, stdout io.Reader) {
	defer close(d.ended)
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var a answer
		if err := json.Unmarshal(lines.Bytes(), &a); err == nil && a.ID != 0 {
			d.mu.Lock()
			waiting := d.answers[a.ID]
			delete(d.answers, a.ID)
			d.mu.Unlock()
			if waiting != nil {
				waiting <- a
			}
			continue
		}
		e := event{raw: lines.Text()}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Errorf("%s: can't read %s: %v", d.name, e.raw, err)
			continue
		}
		d.mu.Lock()
		c := d.clients[e.Client]
		d.mu.Unlock()
		if c != nil {
			c.happened(e)
		}
	}
}

// ask sends a command and returns its answer.
func (d *driver) ask(t testing.TB, command map[string]any) (json.RawMessage, error) {
	t.Helper()
	id := d.counter.Add(1)
	waiting := make(chan answer, 1)
	command["id"] = id
	line, err := json.Marshal(command)
	if err != nil {
		t.Fatal(err)
	}
	d.mu.Lock()
	d.answers[id] = waiting
	_, err = d.stdin.Write(append(line, '\n'))
	d.mu.Unlock()
	if err != nil {
		t.Fatalf("%s: %v\n%s", d.name, err, d.errors.tail())
	}
	select {
	case a := <-waiting:
		if a.Error != nil {
			return nil, a.Error
		}
		return a.Result, nil
	case <-d.ended:
		t.Fatalf("%s ended:\n%s", d.name, d.errors.tail())
	case <-time.After(patience):
		t.Fatalf("%s doesn't answer %s", d.name, line)
	}
	return nil, nil
}

// flags let a server accept the driver's clients.
func (d *driver) flags() []string {
	if d.site == "" {
		return nil
	}
	return []string{"--origin", d.site}
}

// page opens a page for the clients of a test, and returns its name. In Node there are none.
func (d *driver) page(t testing.TB) string {
	t.Helper()
	if d.site == "" {
		return ""
	}
	name := fmt.Sprintf("page-%d", d.counter.Add(1))
	if _, err := d.ask(t, map[string]any{"op": "page", "page": name, "url": d.site + "/page.html"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := d.ask(t, map[string]any{"op": "closePage", "page": name}); err != nil {
			t.Errorf("close the page: %v", err)
		}
	})
	return name
}
