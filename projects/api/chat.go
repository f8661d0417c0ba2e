package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/trunkline/trunkline/projects"
)

// messageBytes bounds the JSON of a message: its text may have 20,000 characters, each written as an escape sequence.
const messageBytes = 256 << 10

// registerChat registers conversations, their messages and files.
func (a *api) registerChat() {
	chat := []string{"chat"}
	register(a, huma.Operation{
		OperationID: "start-conversation", Method: http.MethodPost, Path: "/api/projects/{id}/conversations", Tags: chat,
		DefaultStatus: http.StatusCreated, Summary: "Start a conversation",
		Description: "About one of the project's tasks, with task_id: if that has a conversation already, the answer is that one, with status 200." + sameKey,
	}, a.startConversation)
	register(a, huma.Operation{
		OperationID: "chat", Method: http.MethodGet, Path: "/api/conversations/{id}", Tags: chat, Summary: "Read a conversation",
		Description: "With the 50 messages around the first one that the caller hasn't read, or around the seq at, who has read how far, " +
			"and the positions to follow the channel from: what comes on it and has no higher version than what is here is contained in it.",
	}, a.chat)
	register(a, huma.Operation{
		OperationID: "messages", Method: http.MethodGet, Path: "/api/conversations/{id}/messages", Tags: chat, Summary: "Read messages",
		Description: "Before a seq, after one or around one; without any of them the newest. The answer is a run by seq, without gaps.",
	}, a.messages)
	register(a, huma.Operation{
		OperationID: "send-message", Method: http.MethodPost, Path: "/api/conversations/{id}/messages", Tags: chat,
		DefaultStatus: http.StatusCreated, MaxBodyBytes: messageBytes, Summary: "Send a message",
		Description: "The key is the author's own name for the message. Sending it again with the same key sends nothing: the answer is " +
			"the message as it is by now, with status 200. Who is mentioned in the body, as @[Name](person:ID), is notified.",
	}, a.send)
	register(a, huma.Operation{
		OperationID: "edit-message", Method: http.MethodPatch, Path: "/api/messages/{id}", Tags: chat, MaxBodyBytes: messageBytes,
		Summary: "Edit a message", Description: "For its author. What it said before is kept.",
	}, a.editMessage)
	register(a, huma.Operation{
		OperationID: "delete-message", Method: http.MethodDelete, Path: "/api/messages/{id}", Tags: chat, Summary: "Delete a message",
		Description: "For its author; staff delete those of customers as well. Its text and files are gone, its place stays.",
	}, a.deleteMessage)
	register(a, huma.Operation{
		OperationID: "message-edits", Method: http.MethodGet, Path: "/api/messages/{id}/edits", Tags: chat,
		Summary: "What a message said before", Description: "Oldest first.",
	}, a.edits)
	register(a, huma.Operation{
		OperationID: "read-conversation", Method: http.MethodPost, Path: "/api/conversations/{id}/read", Tags: chat,
		Summary: "Say how far one has read",
		Description: "To be sent for what was displayed. It only ever goes forward. The caller's notifications of what was read are " +
			"marked as read.",
	}, a.read)
	register(a, huma.Operation{
		OperationID: "typing", Method: http.MethodPost, Path: "/api/conversations/{id}/typing", Tags: chat,
		DefaultStatus: http.StatusNoContent, Summary: "Say that one is writing",
		Description: "Others who look at the conversation are told, at most once in two seconds.",
	}, a.typing)
	register(a, huma.Operation{
		OperationID: "search", Method: http.MethodGet, Path: "/api/search", Tags: chat, Summary: "Search messages",
		Description: `Of all the caller's projects, the newest first. "phrases", or, and -without are understood.`,
	}, a.search)
	a.registerFiles(chat)
}

func (a *api) startConversation(ctx context.Context, in *atWith[projects.ConversationDraft]) (*making[projects.Conversation], error) {
	return answerMade(a.Store.StartConversation(ctx, me(ctx), in.ID, in.Body))
}

// madeStatus tells whether something was made or was there.
func madeStatus(made bool) int {
	if made {
		return http.StatusCreated
	}
	return http.StatusOK
}

type chatInput struct {
	ID int64 `path:"id"`
	At int64 `query:"at" minimum:"1" doc:"The seq of a message that is to be among those shown."`
}

type chatOutput struct{ Body projects.Chat }

func (a *api) chat(ctx context.Context, in *chatInput) (*chatOutput, error) {
	c, err := a.Store.Chat(ctx, identity(ctx).Person.ID, in.ID, in.At)
	return &chatOutput{c}, err
}

type messagesInput struct {
	ID     int64 `path:"id"`
	Before int64 `query:"before" minimum:"1" doc:"Those with a lower seq, the nearest."`
	After  int64 `query:"after" minimum:"-1" default:"-1" doc:"Those with a higher seq, the nearest; 0: from the first one on."`
	Around int64 `query:"around" minimum:"1" doc:"The one with this seq, and those on both sides."`
	Limit  int   `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"How many at most."`
}

type messagesOutput struct{ Body projects.MessagePage }

func (a *api) messages(ctx context.Context, in *messagesInput) (*messagesOutput, error) {
	rng := projects.Range{Around: in.Around, Limit: in.Limit}
	if in.Before > 0 {
		rng.Before = &in.Before
	}
	if in.After >= 0 {
		rng.After = &in.After
	}
	page, err := a.Store.Messages(ctx, identity(ctx).Person.ID, in.ID, rng)
	return &messagesOutput{page}, err
}

type sendInput struct {
	ID   int64 `path:"id"`
	Body struct {
		Key         string  `json:"key" doc:"1 to 64 bytes, such as a UUID."`
		Body        string  `json:"body" doc:"Markdown, up to 20,000 characters. May be empty with attachments."`
		Attachments []int64 `json:"attachments,omitempty" maxItems:"1000" nullable:"false" doc:"Files that were uploaded to this conversation."`
		Mentions    []int64 `json:"mentions,omitempty" maxItems:"1000" nullable:"false" doc:"Ignored: who is mentioned stands in the body."`
	}
}

type messageOutput struct {
	Status int
	Body   projects.Message
}

func (a *api) send(ctx context.Context, in *sendInput) (*messageOutput, error) {
	draft := projects.Draft{Key: in.Body.Key, Body: in.Body.Body, Attachments: in.Body.Attachments}
	m, made, err := a.Store.Send(ctx, identity(ctx).Person.ID, in.ID, draft)
	return &messageOutput{Status: madeStatus(made), Body: m}, err
}

type editInput struct {
	ID   int64 `path:"id"`
	Body struct {
		Body    string `json:"body" doc:"Markdown, up to 20,000 characters."`
		Version *int64 `json:"version,omitempty" doc:"The version that was edited: if there is a newer one, the answer is 409."`
	}
}

func (a *api) editMessage(ctx context.Context, in *editInput) (*messageOutput, error) {
	m, err := a.Store.EditMessage(ctx, identity(ctx).Person.ID, in.ID, in.Body.Body, in.Body.Version)
	return &messageOutput{Status: http.StatusOK, Body: m}, err
}

type byID struct {
	ID int64 `path:"id"`
}

func (a *api) deleteMessage(ctx context.Context, in *byID) (*messageOutput, error) {
	m, err := a.Store.DeleteMessage(ctx, identity(ctx).Person.ID, in.ID)
	return &messageOutput{Status: http.StatusOK, Body: m}, err
}

type editsOutput struct {
	Body struct {
		Edits []projects.Edit `json:"edits" nullable:"false" doc:"Oldest first."`
	}
}

func (a *api) edits(ctx context.Context, in *byID) (*editsOutput, error) {
	var out editsOutput
	var err error
	out.Body.Edits, err = a.Store.Edits(ctx, identity(ctx).Person.ID, in.ID)
	return &out, err
}

type readInput struct {
	ID   int64 `path:"id"`
	Body struct {
		UpToSeq int64 `json:"up_to_seq" doc:"The seq of the last message that was displayed."`
	}
}

type readerOutput struct{ Body projects.Reader }

func (a *api) read(ctx context.Context, in *readInput) (*readerOutput, error) {
	r, err := a.Store.Read(ctx, identity(ctx).Person.ID, in.ID, in.Body.UpToSeq)
	return &readerOutput{r}, err
}

func (a *api) typing(ctx context.Context, in *byID) (*struct{}, error) {
	return nil, a.Store.Typing(ctx, identity(ctx).Person.ID, in.ID)
}

type searchInput struct {
	Query  string `query:"q" required:"true" doc:"What is looked for, up to 200 characters."`
	Before int64  `query:"before" minimum:"1" doc:"The next of the page before."`
	Limit  int    `query:"limit" minimum:"1" maximum:"100" default:"20" doc:"How many at most."`
}

type searchOutput struct{ Body projects.Hits }

func (a *api) search(ctx context.Context, in *searchInput) (*searchOutput, error) {
	hits, err := a.Store.Search(ctx, identity(ctx).Person.ID, in.Query, in.Before, in.Limit)
	return &searchOutput{hits}, err
}
