package projects

import "errors"

// ErrNotFound says that something isn't there, or isn't for this person to know of: the two look the same.
var ErrNotFound = errors.New("projects: not found")

// A ForbiddenError says that a person who may see something may not do this with it.
type ForbiddenError struct {
	Sentence string // for people
}

func (e *ForbiddenError) Error() string { return e.Sentence }

// An InvalidError says which field of a request can't be taken, and why. Problem is a sentence for people that names the value
// and says what to do.
type InvalidError struct {
	Field   string // as in JSON: title, due_on …
	Problem string
}

func (e *InvalidError) Error() string { return e.Field + ": " + e.Problem }

// A ConflictError says that something has changed meanwhile, so that what was asked for doesn't apply any more.
type ConflictError struct {
	Sentence string // for people
}

func (e *ConflictError) Error() string { return e.Sentence }

// A GoneError says that something was there and isn't any more, such as an invitation that has expired or was used.
type GoneError struct {
	Sentence string // for people
}

func (e *GoneError) Error() string { return e.Sentence }

// A LimitError says that there is too much of something, or that something is done too often.
type LimitError struct {
	Sentence   string // for people
	RetryAfter int    // seconds; 0: waiting doesn't help
}

func (e *LimitError) Error() string { return e.Sentence }
