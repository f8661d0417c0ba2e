package mail_test

import (
	"fmt"
	"testing"
)

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
