package projects

import (
	"encoding/json"
	"reflect"

	"github.com/danielgtaylor/huma/v2"
)

// An Optional is a field of a change that may be left out. With a pointer as T null clears what there is, so that three things
// can be told apart: nothing said, null, and a value. Where T is no pointer, null is refused.
//
// Its JSON is the value's. Fields of this type want `json:"name,omitzero" required:"false"`.
type Optional[T any] struct {
	Set   bool
	Value T
	Null  bool // null was said, and T has none: it isn't set
}

// Some is an Optional that is there.
func Some[T any](value T) Optional[T] { return Optional[T]{Set: true, Value: value} }

// UnmarshalJSON implements json.Unmarshaler. It is called for null as well.
func (o *Optional[T]) UnmarshalJSON(b []byte) error {
	if string(b) == "null" && !nullable[T]() {
		*o = Optional[T]{Null: true}
		return nil
	}
	*o = Optional[T]{}
	if err := json.Unmarshal(b, &o.Value); err != nil {
		return err
	}
	o.Set = true
	return nil
}

func nullable[T any]() bool { return reflect.TypeFor[T]().Kind() == reflect.Pointer }

// Resolve implements huma.ResolverWithPath: it refuses null where there is none, and says in which field.
func (o Optional[T]) Resolve(_ huma.Context, at *huma.PathBuffer) []error {
	if !o.Null {
		return nil
	}
	return []error{&huma.ErrorDetail{Location: at.String(), Message: "this can't be null: leave it out, or give a value"}}
}

// MarshalJSON implements json.Marshaler. One that isn't set is null: the tag omitzero leaves it out.
func (o Optional[T]) MarshalJSON() ([]byte, error) {
	if !o.Set {
		return []byte("null"), nil
	}
	return json.Marshal(o.Value)
}

// Schema describes it in OpenAPI: what T is, and null if T is a pointer.
func (o Optional[T]) Schema(r huma.Registry) *huma.Schema {
	schema := *r.Schema(reflect.TypeFor[T](), true, "")
	schema.Nullable = nullable[T]()
	return &schema
}
