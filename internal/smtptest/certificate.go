package smtptest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"sync"
	"time"
)

// Certificate is which one a server shows.
type Certificate int

const (
	// Good is for 127.0.0.1, ::1 and localhost, by the authority of [Server.CAFile].
	Good Certificate = iota
	// Expired is Good's, of long ago.
	Expired
	// WrongName is by the authority, for mail.example.
	WrongName
	// SelfSigned is by nobody.
	SelfSigned
)

type keyring struct {
	authority []byte // PEM
	chain     map[Certificate]tls.Certificate
}

// certificates are made once for all servers of a program.
var certificates = sync.OnceValues(func() (*keyring, error) {
	now := time.Now()
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "smtptest authority"},
		NotBefore: now.AddDate(-10, 0, 0), NotAfter: now.AddDate(10, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	rootBytes, err := x509.CreateCertificate(rand.Reader, root, root, rootKey.Public(), rootKey)
	if err != nil {
		return nil, err
	}
	ring := &keyring{
		authority: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: rootBytes}),
		chain:     map[Certificate]tls.Certificate{},
	}
	for which := Good; which <= SelfSigned; which++ {
		leaf := &x509.Certificate{
			SerialNumber: big.NewInt(int64(which) + 2), Subject: pkix.Name{CommonName: "smtptest"},
			NotBefore: now.AddDate(-5, 0, 0), NotAfter: now.AddDate(5, 0, 0),
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
			DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		}
		switch which {
		case Expired:
			leaf.NotAfter = now.AddDate(-4, 0, 0)
		case WrongName:
			leaf.DNSNames, leaf.IPAddresses = []string{"mail.example"}, nil
		}
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		parent, parentKey := root, rootKey
		if which == SelfSigned {
			parent, parentKey = leaf, key
		}
		bytes, err := x509.CreateCertificate(rand.Reader, leaf, parent, key.Public(), parentKey)
		if err != nil {
			return nil, err
		}
		ring.chain[which] = tls.Certificate{Certificate: [][]byte{bytes}, PrivateKey: key}
	}
	return ring, nil
})
