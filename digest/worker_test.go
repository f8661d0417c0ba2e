package digest

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestOneMailHoldsMany(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.user("ann", "bob")
	ids := w.notify(note{user: "ann"}, note{user: "ann", kind: "task"}, note{user: "bob"}, note{user: "ann", at: noon.Add(3 * time.Hour)},
		note{user: "cid"})
	worker := w.worker()
	w.mailed(worker, noon.Add(4*time.Hour-time.Second))
	report := w.mailed(worker, noon.Add(4*time.Hour), "ann: "+list(ids[0], ids[1], ids[3]), "bob: "+list(ids[2]))
	w.decided("ann", Mailed, time.Time{})
	w.decided("cid", NoAddress, noon.Add(28*time.Hour))
	w.wantState("ann sent 1", "bob sent 1")
	if len(report.Decisions) != 3 || len(report.Mails) != 2 || report.Mails[0].Subject != "Hello" || report.Mails[0].Phase != Sent {
		t.Errorf("report: %s", asJSON(report))
	}
	// And never again.
	w.mailed(worker, noon.Add(5*time.Hour))
	w.mailed(worker, noon.Add(24*30*time.Hour))
	if diff := cmp.Diff([]string{"cid"}, w.column("SELECT user_id FROM trunkline.digest_due")); diff != "" {
		t.Errorf("still due (-want +got):\n%s", diff)
	}
}
