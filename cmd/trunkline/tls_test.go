package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/trunkline/trunkline/internal/pgtest"
)

// writePair writes a certificate for 127.0.0.1 that clients take as its own authority, and its key.
func writePair(t *testing.T, certFile, keyFile, name string) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(90 * 24 * time.Hour), IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}

// shown is the name in the certificate that a TLS server shows.
func shown(t *testing.T, address string) string {
	t.Helper()
	dialer := &tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}} // which one it is, is the question
	conn, err := dialer.DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0].Subject.CommonName
}

func TestCertificateIsReadAgainWhenItsFilesChange(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writePair(t, certFile, keyFile, "first")
	log := newOutput()
	pair, err := loadCertificate(certFile, keyFile, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	name := func() string { return pair.current.Load().Leaf.Subject.CommonName }
	pair.look()
	if said := log.String(); said != "" {
		t.Errorf("without a change it says %s", said)
	}

	// Another certificate, whose key has not been written yet.
	other := filepath.Join(dir, "other.pem")
	writePair(t, certFile, other, "second")
	pair.look()
	if name() != "first" || strings.Count(log.String(), "the old one stays") != 1 {
		t.Errorf("it shows %s: %s", name(), log)
	}
	pair.look()
	if strings.Count(log.String(), "the old one stays") != 1 {
		t.Errorf("it says so more than once: %s", log)
	}
	before, err := os.Stat(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(other, keyFile); err != nil {
		t.Fatal(err)
	}
	// Clocks of file systems are coarse: another content need not have another time.
	if err := os.Chtimes(keyFile, before.ModTime(), before.ModTime()); err != nil {
		t.Fatal(err)
	}
	pair.look()
	if name() != "second" {
		t.Errorf("it shows %s: %s", name(), log)
	}

	// Gone, and back, at a word.
	if err := os.Remove(certFile); err != nil {
		t.Fatal(err)
	}
	pair.reload()
	if !strings.Contains(log.String(), "no such file") {
		t.Errorf("without a file it says %s", log)
	}
	writePair(t, certFile, keyFile, "third")
	pair.reload()
	if name() != "third" {
		t.Errorf("it shows %s: %s", name(), log)
	}
}

func TestWatchOfACertificateFollowsTicksAndWords(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writePair(t, certFile, keyFile, "first")
	log := newOutput()
	pair, err := loadCertificate(certFile, keyFile, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ticks, told, done := make(chan time.Time), make(chan struct{}), make(chan struct{})
	writePair(t, certFile, keyFile, "second") // before it is watched: a tick amid the writing would find half of it
	go func() {
		defer close(done)
		pair.watch(ctx, ticks, told)
	}()
	defer func() {
		cancel()
		<-done
	}()
	ticks <- time.Now()
	log.line(t, "was reloaded")
	if name := pair.current.Load().Leaf.Subject.CommonName; name != "second" {
		t.Errorf("after a tick it shows %s", name)
	}
	told <- struct{}{}
	log.line(t, "was reloaded")
}

func TestServeSpeaksTLS(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	authority := writePair(t, certFile, keyFile, "first")
	serve := spawn(t, []string{"TRUNKLINE_DATABASE_URL=" + pgtest.Database(t)}, "serve", "--listen", "127.0.0.1:0", "--tls-cert", certFile, "--tls-key", keyFile)
	line := serve.out.line(t, "wss://")
	address := strings.TrimSuffix(line[strings.Index(line, "wss://")+len("wss://"):], "/connection/websocket")
	serve.out.line(t, "Ctrl-C")

	roots := x509.NewCertPool()
	roots.AddCert(authority)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Get("https://" + address + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK || response.ProtoMajor != 2 {
		t.Errorf("%s %s", response.Proto, response.Status)
	}

	writePair(t, certFile, keyFile, "second")
	if err := serve.process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	serve.err.line(t, "was reloaded")
	if name := shown(t, address); name != "second" {
		t.Errorf("after SIGHUP it shows %s", name)
	}
	serve.interrupt()
	if code := serve.wait(t); code != exitOK {
		t.Errorf("exit code %d", code)
	}
}

func TestHangupEndsAServeWithoutACertificate(t *testing.T) {
	serve := spawn(t, []string{"TRUNKLINE_DATABASE_URL=" + pgtest.Database(t)}, "serve", "--listen", "127.0.0.1:0")
	address(t, serve)
	if err := serve.process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if code := serve.wait(t); code != exitOK {
		t.Errorf("exit code %d", code)
	}
}
