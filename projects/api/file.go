package api

import (
	"bytes"
	"context"
	"mime"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/trunkline/trunkline/projects"
)

// uploadTime bounds how long a file may take to come: 10 MiB on a slow line.
const uploadTime = 2 * time.Minute

// registerFiles registers attachments.
func (a *api) registerFiles(chat []string) {
	register(a, huma.Operation{
		OperationID: "upload", Method: http.MethodPost, Path: "/api/conversations/{id}/attachments", Tags: chat,
		DefaultStatus: http.StatusCreated, Metadata: upload, MaxBodyBytes: a.Store.Limits().AttachmentBytes + 1, BodyReadTimeout: uploadTime,
		Summary:     "Upload a file",
		Description: "To be sent with a message by its uploader, within a day. It has to be what the extension of its name says.",
	}, a.upload)
	// An empty file is one as well, and there is a sentence about it.
	a.huma.OpenAPI().Paths["/api/conversations/{id}/attachments"].Post.RequestBody.Required = false
	register(a, huma.Operation{
		OperationID: "attachment", Method: http.MethodGet, Path: "/api/attachments/{id}", Tags: chat, Summary: "Read a file",
		Description: "PNG, JPEG, GIF and WebP may be shown in a page, unless download is given; everything else is to be saved.",
		Responses: map[string]*huma.Response{"200": {
			Description: "The file.", Content: map[string]*huma.MediaType{"*/*": {Schema: &huma.Schema{Type: "string", Format: "binary"}}},
		}},
	}, a.attachment)
	register(a, huma.Operation{
		OperationID: "delete-attachment", Method: http.MethodDelete, Path: "/api/attachments/{id}", Tags: chat,
		DefaultStatus: http.StatusNoContent, Summary: "Remove a file that isn't sent", Description: "For its uploader.",
	}, a.deleteAttachment)
}

type uploadInput struct {
	ID      int64  `path:"id"`
	Name    string `query:"name" required:"true" doc:"What the file is called, with its extension." example:"plan.pdf"`
	RawBody []byte `contentType:"application/octet-stream"`
}

type attachmentOutput struct{ Body projects.Attachment }

func (a *api) upload(ctx context.Context, in *uploadInput) (*attachmentOutput, error) {
	file, err := a.Store.Upload(ctx, identity(ctx).Person.ID, in.ID, in.Name, bytes.NewReader(in.RawBody))
	return &attachmentOutput{file}, err
}

type attachmentInput struct {
	ID       int64 `path:"id"`
	Download bool  `query:"download" doc:"To be saved, also if it is an image."`
}

func (a *api) attachment(ctx context.Context, in *attachmentInput) (*huma.StreamResponse, error) {
	file, err := a.Store.Attachment(ctx, identity(ctx).Person.ID, in.ID)
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(ctx huma.Context) {
		r, w := humago.Unwrap(ctx)
		serveFile(w, r, file, in.Download)
	}}, nil
}

// serveFile answers with a file that came from somebody. Whatever is in it, it runs nowhere: a browser takes it for what we say it is,
// shows only images, and gives it no origin.
func serveFile(w http.ResponseWriter, r *http.Request, file *projects.File, download bool) {
	disposition := "attachment"
	if file.Image && !download {
		disposition = "inline"
	}
	header := w.Header()
	header.Set("Content-Disposition", mime.FormatMediaType(disposition, map[string]string{"filename": file.Name}))
	header.Set("Content-Type", file.MediaType)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	// Kept by the browser alone, which asks each time whether it still may.
	header.Set("Cache-Control", "private, no-cache")
	header.Set("ETag", `"`+strconv.FormatInt(file.ID, 10)+`"`)
	http.ServeContent(w, r, "", file.CreatedAt, file.Content(r.Context()))
}

func (a *api) deleteAttachment(ctx context.Context, in *byID) (*struct{}, error) {
	return nil, a.Store.DeleteAttachment(ctx, identity(ctx).Person.ID, in.ID)
}
