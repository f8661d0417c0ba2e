package mail_test

import (
	"testing"

	"github.com/trunkline/trunkline/digest/mail"
)

// What is written about in compile.go: compiled templates write the very bytes that executed ones do. FuzzRender looks further.
func TestCompiledTemplatesWriteWhatExecutedOnesDo(t *testing.T) {
	silent := renderer(t, func(o *mail.Options) { o.NoContent = true })
	bare := renderer(t, func(o *mail.Options) { o.PublicURL, o.InboxURL, o.PreferencesURL = "", "", "" })
	for name, d := range digests() {
		for _, r := range []*mail.Renderer{renderer(t, nil), silent, bare} {
			if err := mail.Both(r, d); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}
