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
}

// Some is an Optional that is there.
func Some[T any](value T) Optional[T] { return Optional[T]{Set: true, Value: value} }

// UnmarshalJSON implements json.Unmarshaler. It is called for null as well.
func (o *Optional[T]) UnmarshalJSON(b []byte) error {
	if string(b) == "null" && reflect.TypeFor[T]().Kind() != reflect.Pointer {
		return &json.UnmarshalTypeError{Value: "null", Type: reflect.TypeFor[T]()}
	}
	if err := json.Unmarshal(b, &o.Value); err != nil {
		return err
	}
	o.Set = true
	return nil
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
	t := reflect.TypeFor[T]()
	schema := *r.Schema(t, true, "")
	schema.Nullable = t.Kind() == reflect.Pointer
	return &schema
}
