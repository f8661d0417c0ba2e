package inbox_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/inbox"
)

// Pages join without a gap or a double, whatever arrives meanwhile, and each filter shows what it says.
func TestListPages(t *testing.T) {
	t.Parallel()
	in, engine, conn := startNode(t)
	page := list(t, in, "ann", inbox.ListOptions{})
	if page.Items == nil || len(page.Items) != 0 || page.Next != 0 || page.Counts != (inbox.Counts{}) {
		t.Errorf("of a user who was never notified: %+v", page)
	}
	sub := pushesTo(t, engine, "ann")
	for n := range 23 {
		notifyOf(t, conn, inbox.Notification{
			Users: []string{"ann"}, Kind: fmt.Sprintf("kind %d", n%2), Group: fmt.Sprintf("group %d", n%3),
			Data: json.RawMessage(fmt.Sprint(n)),
		})
		next(t, sub)
	}
	ids := map[int64]int64{} // by seq
	for _, it := range listAll(t, in, "ann", inbox.StateAll) {
		ids[it.Seq] = it.ID
	}
	some := func(seqs ...int64) (chosen []int64) {
		for _, seq := range seqs {
			chosen = append(chosen, ids[seq])
		}
		return chosen
	}
	mark(t, in, "ann", inbox.Mark{State: inbox.StateSeen, UpToSeq: 20})
	mark(t, in, "ann", inbox.Mark{State: inbox.StateRead, UpToSeq: 10})
	mark(t, in, "ann", inbox.Mark{State: inbox.StateArchived, IDs: some(1, 2, 23)})
	c := mark(t, in, "ann", inbox.Mark{State: inbox.StateSnoozed, IDs: some(3, 22), Until: time.Now().Add(time.Hour)})
	if c.Unread != 11 || c.Unseen != 1 {
		t.Errorf("counts: %+v", c)
	}
	span := func(from, to int64, without ...int64) (seqs []int64) {
		for seq := from; seq >= to; seq-- {
			if !slices.Contains(without, seq) {
				seqs = append(seqs, seq)
			}
		}
		return seqs
	}
	for _, test := range []struct {
		opts inbox.ListOptions
		want []int64
	}{
		{inbox.ListOptions{}, span(21, 4)},
		{inbox.ListOptions{State: inbox.StateInbox}, span(21, 4)},
		{inbox.ListOptions{State: inbox.StateUnseen}, span(21, 21)},
		{inbox.ListOptions{State: inbox.StateUnread}, span(21, 11)},
		{inbox.ListOptions{State: inbox.StateRead}, span(10, 4)},
		{inbox.ListOptions{State: inbox.StateArchived}, []int64{23, 2, 1}},
		{inbox.ListOptions{State: inbox.StateSnoozed}, []int64{22, 3}},
		{inbox.ListOptions{State: inbox.StateAll}, span(23, 1)},
		{inbox.ListOptions{State: inbox.StateAll, Kind: "kind 1"}, []int64{22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2}},
		{inbox.ListOptions{Group: "group 0"}, []int64{19, 16, 13, 10, 7, 4}},
		{inbox.ListOptions{Group: "group 0", Kind: "kind 0", State: inbox.StateUnread}, []int64{19, 13}},
		{inbox.ListOptions{Before: 6}, []int64{5, 4}},
		{inbox.ListOptions{Kind: "no such kind"}, nil},
	} {
		for _, limit := range []int{0, 1, 2, 7, 200} {
			opts := test.opts
			opts.Limit = limit
			var seqs []int64
			for {
				page := list(t, in, "ann", opts)
				if page.Counts != c {
					t.Errorf("%+v: counts %+v, want %+v", opts, page.Counts, c)
				}
				if limit > 0 && len(page.Items) > limit || page.Items == nil {
					t.Errorf("%+v: a page of %d", opts, len(page.Items))
				}
				for _, it := range page.Items {
					seqs = append(seqs, it.Seq)
				}
				if page.Next == 0 {
					break
				}
				opts.Before = page.Next
			}
			if !slices.Equal(seqs, test.want) {
				t.Errorf("%+v: seqs %v, want %v", opts, seqs, test.want)
			}
		}
	}
	// The next page isn't moved by what arrives.
	page = list(t, in, "ann", inbox.ListOptions{Limit: 5})
	notify(t, conn, "k", "ann")
	eventually(t, "it is placed", func() bool { return counts(t, in, "ann").Unread == 12 })
	if after := list(t, in, "ann", inbox.ListOptions{Limit: 5, Before: page.Next}); after.Items[0].Seq != 16 {
		t.Errorf("the second page begins with %+v", after.Items[0])
	}
}

// Whoever lists and then follows the channel, ignoring pushes up to the page's version, knows everything once: nothing that a push
// says after that is missing from either.
func TestAPageAndItsVersion(t *testing.T) {
	t.Parallel()
	in, engine, conn := startNode(t)
	// It writes for as long as somebody waits for another push.
	enough, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-enough:
				return
			default:
			}
			if _, err := inbox.NotifyTx(testContext(t), conn, inbox.Notification{Users: []string{"ann"}, Kind: "k"}); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	defer func() { close(enough); <-done }()
	for range 80 {
		sub := subscribe(t, engine, trunkline.FromNow(), "inbox:ann")
		page := list(t, in, "ann", inbox.ListOptions{})
		top := int64(0)
		if len(page.Items) > 0 {
			top = page.Items[0].Seq
		}
		if int64(page.Counts.Unread) != top {
			t.Fatalf("%d unread on a page that begins with seq %d", page.Counts.Unread, top)
		}
		p := next(t, sub)
		for p.Version <= page.Counts.Version { // contained
			p = next(t, sub)
		}
		if first := p.Added[len(p.Added)-1].Seq; p.Version != page.Counts.Version+1 || first != top+1 && !p.More {
			t.Fatalf("version %d with seq %d follows a page of version %d with seq %d", p.Version, first, page.Counts.Version, top)
		}
		sub.Close()
	}
}
