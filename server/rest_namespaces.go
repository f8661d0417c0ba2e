package server

import (
	"context"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/trunkline/trunkline"
)

// namespaceSettings are a namespace's settings.
type namespaceSettings trunkline.NamespaceJSON

// namespaces registers the administration of namespaces. Changes take effect on every node.
func (h *rest) namespaces() {
	const path = "/v1/namespaces/{name}"
	register(h, huma.Operation{
		OperationID: "list-namespaces", Method: http.MethodGet, Path: "/v1/namespaces", Tags: []string{"namespaces"}, Metadata: admin,
		Summary: "List namespaces that have settings",
	}, h.listNamespaces)
	register(h, huma.Operation{
		OperationID: "namespace", Method: http.MethodGet, Path: path, Tags: []string{"namespaces"}, Metadata: admin,
		Summary: "Read a namespace's settings",
	}, h.namespace)
	register(h, huma.Operation{
		OperationID: "set-namespace", Method: http.MethodPut, Path: path, Tags: []string{"namespaces"}, Metadata: admin,
		Summary: "Give a namespace settings", Description: "All of them: what is left out has its default.",
	}, h.setNamespace)
	register(h, huma.Operation{
		OperationID: "delete-namespace", Method: http.MethodDelete, Path: path, Tags: []string{"namespaces"}, Metadata: admin,
		Summary:     "Remove a namespace's settings",
		Description: "Its messages stay, for ever; clients may do only what their token says.",
	}, h.deleteNamespace)
	// The name is in the URL.
	settings := h.api.OpenAPI().Components.Schemas.Map()["NamespaceSettings"]
	settings.Required = slices.DeleteFunc(settings.Required, func(name string) bool { return name == "name" })
	settings.PrecomputeMessages()
}

type namespacesOutput struct {
	Body struct {
		Namespaces []namespaceSettings `json:"namespaces" nullable:"false"`
	}
}

func (h *rest) listNamespaces(ctx context.Context, _ *struct{}) (*namespacesOutput, error) {
	all, err := trunkline.ReadNamespaces(ctx, h.server.engine.Pool())
	if err != nil {
		return nil, err
	}
	out := &namespacesOutput{}
	out.Body.Namespaces = make([]namespaceSettings, len(all))
	for i, n := range all {
		out.Body.Namespaces[i] = namespaceSettings(n.JSON())
	}
	return out, nil
}

type namespaceInput struct {
	Name string `path:"name" doc:"The namespace." example:"project"`
}

type namespaceOutput struct{ Body namespaceSettings }

func (h *rest) namespace(ctx context.Context, in *namespaceInput) (*namespaceOutput, error) {
	n, found, err := trunkline.ReadNamespace(ctx, h.server.engine.Pool(), in.Name)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, noNamespace(in.Name)
	}
	return &namespaceOutput{Body: namespaceSettings(n.JSON())}, nil
}

type setNamespaceInput struct {
	Name string `path:"name" doc:"The namespace." example:"project"`
	Body namespaceSettings
}

func (h *rest) setNamespace(ctx context.Context, in *setNamespaceInput) (*namespaceOutput, error) {
	if in.Body.Name != "" && in.Body.Name != in.Name {
		return nil, problemOf(http.StatusBadRequest, "the body names namespace %q, the URL %q: name one", clip(in.Body.Name), clip(in.Name))
	}
	in.Body.Name = in.Name
	given := trunkline.NamespaceJSON(in.Body)
	n, err := given.Namespace()
	if err != nil {
		return nil, err
	}
	if err := trunkline.SetNamespace(ctx, h.server.engine.Pool(), n); err != nil {
		return nil, err
	}
	return h.namespace(ctx, &namespaceInput{Name: in.Name})
}

func (h *rest) deleteNamespace(ctx context.Context, in *namespaceInput) (*struct{}, error) {
	return nil, trunkline.DeleteNamespace(ctx, h.server.engine.Pool(), in.Name)
}

func noNamespace(name string) *problem {
	return problemOf(http.StatusNotFound, "namespace %q has no settings: give it some with PUT", clip(name))
}
