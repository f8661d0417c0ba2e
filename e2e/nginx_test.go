package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// nginx is one that runs with deploy/nginx.conf.
type nginx struct{ address string }

func (x *nginx) base() string { return "https://" + x.address }

// startNginx puts nginx in front of nodes.
func startNginx(t testing.TB, c certificate, nodes ...*node) *nginx {
	t.Helper()
	program := need(t, "nginx")
	dir := t.TempDir()
	x := &nginx{address: fmt.Sprintf("127.0.0.1:%d", freePort(t))}

	shipped, err := os.ReadFile("../deploy/nginx.conf")
	if err != nil {
		t.Fatal(err)
	}
	config := string(shipped)
	var upstream strings.Builder
	for _, n := range nodes {
		fmt.Fprintf(&upstream, "server %s;\n", n.address())
	}
	// What an operator is told to change, and nothing else.
	for from, to := range map[string]string{
		"server 127.0.0.1:8000;":                                upstream.String(),
		"listen 443 ssl http2;":                                 "listen " + x.address + " ssl http2;",
		"ssl_certificate     /etc/ssl/trunkline/fullchain.pem;": "ssl_certificate " + c.file + ";",
		"ssl_certificate_key /etc/ssl/trunkline/privkey.pem;":   "ssl_certificate_key " + c.key + ";",
	} {
		if strings.Count(config, from) != 1 {
			t.Fatalf("deploy/nginx.conf has not one %q", from)
		}
		config = strings.Replace(config, from, to, 1)
	}
	site := filepath.Join(dir, "trunkline.conf")
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;" // else its workers can't enter the folder
	}
	temporary := ""
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		temporary += fmt.Sprintf("%s_temp_path %s;\n", kind, filepath.Join(dir, kind))
	}
	main := fmt.Sprintf("%s\ndaemon off;\nworker_processes 2;\npid %s;\nerror_log stderr warn;\nevents {}\nhttp {\naccess_log off;\n%s include %s;\n}\n",
		user, filepath.Join(dir, "pid"), temporary, site)
	mainFile := filepath.Join(dir, "nginx.conf")
	for name, text := range map[string]string{site: config, mainFile: main} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	out := newOutput()
	cmd := exec.Command(program, "-c", mainFile, "-p", dir, "-e", "stderr")
	dieWithUs(cmd)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = cmd.Wait()
		close(out.ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // SIGKILL would leave its workers
		<-out.ended
		if t.Failed() {
			t.Logf("nginx said:\n%s", out.tail())
		}
	})
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		conn, err := net.Dial("tcp", x.address)
		if err == nil {
			conn.Close() //nolint:errcheck // only a knock
			return x
		}
		select {
		case <-out.ended:
			t.Fatalf("nginx ended:\n%s", out.tail())
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("nginx doesn't listen: %v\n%s", err, out.tail())
		}
	}
}

// certificate is for 127.0.0.1, and signed by nobody else.
type certificate struct{ file, key string }

func newCertificate(t testing.TB) certificate {
	t.Helper()
	dir := t.TempDir()
	c := certificate{file: filepath.Join(dir, "certificate.pem"), key: filepath.Join(dir, "key.pem")}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "127.0.0.1"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		c.file: {Type: "CERTIFICATE", Bytes: der}, c.key: {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// behindNginx: with the configuration as it is shipped everything arrives as it is published, and goes on after the node's end.
func behindNginx(t *testing.T, d *driver) {
	const channel = "room:proxied"
	url, pool := newDatabase(t)
	n := startNode(t, url, append(d.flags(), "--trusted-proxy", "127.0.0.1")...)
	proxy := startNginx(t, d.certificate, n)
	here := d.at(t, proxy.base())
	cast := here.cast(t, channel)
	source := here.stream(t, "channel="+channel+"&token="+token(t, "ann"))
	source.await(t, "open", "")
	address := proxy.base() + "/v1/stream?channel=" + channel
	bearer := "Authorization: Bearer " + token(t, "ann")
	var curls []*curl
	for _, version := range []string{"--http1.1", "--http2"} {
		c := startCurl(t, version, "--cacert", d.certificate.file, "-H", bearer, address)
		if said, ok := c.await(t, "id: "); !ok {
			t.Fatalf("no stream with curl %s:\n%s", version, said)
		}
		curls = append(curls, c)
	}

	// One at a time: none may wait for the next in a buffer.
	for i := 1; i <= 5; i++ {
		publish(t, pool, channel, i, i)
		for _, c := range cast {
			c.numbers(t, channel, i, i)
		}
		source.streamedNumbers(t, i, i)
		for _, c := range curls {
			c.numbers(t, i, i)
		}
	}
	// What clients send goes through as well.
	for i, c := range cast {
		c.must(t, map[string]any{"op": "publish", "channel": channel, "data": map[string]any{"n": 6 + i}})
	}
	last := 5 + len(cast)
	for _, c := range cast {
		c.numbers(t, channel, 6, last)
	}
	source.streamedNumbers(t, 6, last)

	n.kill()
	source.await(t, "lost", "")
	publish(t, pool, channel, last+1, last+20)
	// nginx answers an EventSource without a node behind it.
	source.await(t, "open", "")
	n.start(t)
	recovered(t, cast, channel, last+1, last+20)
	source.streamedNumbers(t, last+1, last+20)
	quiet(t, cast)
	for _, c := range curls {
		if rest, ok := c.await(t, "data: {\"channel\":\"elsewhere"); ok {
			t.Errorf("curl goes on: %s", rest)
		}
	}

	for _, path := range []string{"/metrics", "/readyz"} {
		c := startCurl(t, "-o", os.DevNull, "-w", "status %{http_code}\\n", "--cacert", d.certificate.file, proxy.base()+path)
		if status, _ := c.await(t, "status "); status != "404" {
			t.Errorf("%s is answered with %s", path, status)
		}
	}
}
