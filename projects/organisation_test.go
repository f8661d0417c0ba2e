package projects

import (
	"errors"
	"testing"
)

func TestAddStaff(t *testing.T) {
	t.Parallel()
	store := newStore(t)
	ctx := t.Context()
	maya := StaffDraft{Organisation: "Northlight", Email: " Maya@Example.org ", Name: "Maya", Admin: true}
	first, err := store.AddStaff(ctx, maya)
	if err != nil {
		t.Fatal(err)
	}
	again, err := store.AddStaff(ctx, StaffDraft{Organisation: "northlight", Email: "maya@example.org", Name: "Maya O."})
	if err != nil || again != first {
		t.Errorf("the same again: %d, %v, and not %d", again, err, first)
	}
	second, err := store.AddStaff(ctx, StaffDraft{Organisation: "Northlight", Email: "jonas@example.org", Name: "Jonas"})
	if err != nil || second == first {
		t.Errorf("a colleague: %d, %v", second, err)
	}
	var organisations int
	if err := store.pool.QueryRow(ctx, "SELECT count(*) FROM projects.organisation").Scan(&organisations); err != nil || organisations != 1 {
		t.Errorf("%d organisations, %v", organisations, err)
	}
	_, err = store.AddStaff(ctx, StaffDraft{Organisation: "Other", Email: "maya@example.org", Name: "Maya"})
	if !errors.As(err, new(*ConflictError)) {
		t.Errorf("of another organisation: %v", err)
	}
	for _, bad := range []StaffDraft{
		{Organisation: "", Email: "a@example.org", Name: "A"},
		{Organisation: "N", Email: "nobody", Name: "A"},
		{Organisation: "N", Email: "a@example.org", Name: " "},
	} {
		if _, err := store.AddStaff(ctx, bad); !errors.As(err, new(*InvalidError)) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}
