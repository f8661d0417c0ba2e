package mail_test

import (
	"crypto"
	"fmt"
	"testing"

	"github.com/trunkline/trunkline/digest/mail"
)

// BenchmarkSign makes mails of 10 items and signs them.
func BenchmarkSign(b *testing.B) {
	for name, key := range map[string]crypto.Signer{"rsa-2048": rsaKey, "ed25519": ed25519Key} {
		b.Run(name, func(b *testing.B) {
			r := renderer(b, func(o *mail.Options) { o.DKIM = []mail.DKIM{{Domain: "example.org", Selector: "s", Key: key}} })
			d := digest(10)
			for b.Loop() {
				if _, _, err := r.Render(d); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "mails/s")
		})
	}
}

// BenchmarkRender makes mails on one processor: 1 item, 10, and 40 of three groups, of which 15 are shown.
func BenchmarkRender(b *testing.B) {
	for _, n := range []int{1, 10, 40} {
		b.Run(fmt.Sprintf("items=%d", n), func(b *testing.B) {
			r := renderer(b, nil)
			d := digest(n)
			b.ReportAllocs()
			size := 0
			for b.Loop() {
				e, _, err := r.Render(d)
				if err != nil {
					b.Fatal(err)
				}
				size = len(e.Data)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "mails/s")
			b.ReportMetric(float64(size), "bytes")
		})
	}
}
