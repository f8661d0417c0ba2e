package mail_test

import (
	"testing"

	"github.com/trunkline/trunkline/digest/mail"
)

func TestBuiltinTemplatesAreCompiled(t *testing.T) {
	for file, err := range mail.Compiled() {
		if err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}
