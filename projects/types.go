package projects

import "time"

// Role is what somebody is in a project.
type Role string

// The roles. An admin of the organisation is a lead everywhere in it, member or not.
const (
	Lead     Role = "lead"     // staff, and may change the project and who takes part
	Staff    Role = "staff"    // guides: makes tasks, answers, invites customers
	Customer Role = "customer" // completes tasks, asks
)

// Date is a day without a time, as YYYY-MM-DD.
type Date string

// A Position is a place in a channel to subscribe from.
type Position struct {
	Epoch  string `json:"epoch"`
	Offset int64  `json:"offset"`
}

// A Person is somebody as others see them.
type Person struct {
	ID      int64  `json:"id"`
	Name    string `json:"name"`
	Company string `json:"company"` // of a customer; of staff the organisation's name
	Staff   bool   `json:"staff"`
}

// A Me is somebody as they see themselves.
type Me struct {
	Person
	Email          string `json:"email"`
	Admin          bool   `json:"admin"`
	OrganisationID *int64 `json:"organisation_id"`
	TimeZone       string `json:"time_zone"`
	Locale         string `json:"locale"`
	HasPassword    bool   `json:"has_password"`
}

// A Progress is how far a project is. Of two, the one with the higher version is the newer one.
type Progress struct {
	Done    int   `json:"done"`
	Total   int   `json:"total"`
	Version int64 `json:"version"`
}

// A Summary is a project at a glance, for one person.
type Summary struct {
	ID       int64    `json:"id"`
	Name     string   `json:"name"`
	Status   string   `json:"status"` // active, finished or archived
	Role     Role     `json:"role"`   // the person's
	DueOn    *Date    `json:"due_on"`
	Progress Progress `json:"progress"`
	// Waiting is how many conversations hold a customer's question that no staff has answered; WaitingSince is since when.
	Waiting      int        `json:"waiting"`
	WaitingSince *time.Time `json:"waiting_since"`
	// Unread is how many messages in its conversations the person has not read.
	Unread int `json:"unread"`
	// Outstanding are the first of its outstanding tasks, at most 8.
	Outstanding []Task   `json:"outstanding"`
	Customers   []Person `json:"customers"` // at most 5
	Staff       []Person `json:"staff"`     // at most 5
}

// An Overview is what a person's first page shows.
type Overview struct {
	Projects []Summary `json:"projects"` // active first, then those with the oldest unanswered question, then by name
	// Positions to subscribe from, by channel: person:ID.
	Positions map[string]Position `json:"positions"`
}

// A Milestone is a stage of a project.
type Milestone struct {
	ID        int64   `json:"id"`
	ProjectID int64   `json:"project_id"`
	Name      string  `json:"name"`
	DueOn     *Date   `json:"due_on"`
	Rank      float64 `json:"rank"`
	Version   int64   `json:"version"`
}

// A Task is something to be done in a project.
type Task struct {
	ID             int64      `json:"id"`
	ProjectID      int64      `json:"project_id"`
	MilestoneID    *int64     `json:"milestone_id"`
	Title          string     `json:"title"`
	Description    string     `json:"description"`
	Rank           float64    `json:"rank"`
	AssigneeID     *int64     `json:"assignee_id"`
	DueOn          *Date      `json:"due_on"`
	CompletedAt    *time.Time `json:"completed_at"`
	CompletedBy    *int64     `json:"completed_by"`
	ReopenedAt     *time.Time `json:"reopened_at"`
	ReopenedBy     *int64     `json:"reopened_by"`
	ConversationID *int64     `json:"conversation_id"`
	CreatedAt      time.Time  `json:"created_at"`
	Version        int64      `json:"version"`
}

// A Member is somebody who takes part in a project.
type Member struct {
	Person
	Role     Role      `json:"role"`
	JoinedAt time.Time `json:"joined_at"`
}

// An Invitation is somebody's who doesn't take part yet.
type Invitation struct {
	ID        int64     `json:"id"`
	ProjectID int64     `json:"project_id"`
	Email     string    `json:"email"`
	Name      string    `json:"name"`
	Role      Role      `json:"role"`
	InvitedBy *int64    `json:"invited_by"`
	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at"`
	// Mail is waiting, sent or failed.
	Mail string `json:"mail"`
}

// A Conversation is a thread of messages in a project, about the whole of it or about one task.
type Conversation struct {
	ID            int64      `json:"id"`
	ProjectID     int64      `json:"project_id"`
	TaskID        *int64     `json:"task_id"`
	Subject       string     `json:"subject"`
	LastSeq       int64      `json:"last_seq"`
	LastMessageAt *time.Time `json:"last_message_at"`
	AwaitingSince *time.Time `json:"awaiting_since"`
	Version       int64      `json:"version"`
	// ReadSeq is how far the person who asks has read. Pushes leave it out.
	ReadSeq *int64 `json:"read_seq,omitempty"`
}

// A Project is a project with all that its page shows, at one moment.
type Project struct {
	ID            int64          `json:"id"`
	Name          string         `json:"name"`
	Summary       string         `json:"summary"`
	Status        string         `json:"status"`
	DueOn         *Date          `json:"due_on"`
	CreatedAt     time.Time      `json:"created_at"`
	Version       int64          `json:"version"`
	Role          Role           `json:"role"`
	Organisation  string         `json:"organisation"`
	Progress      Progress       `json:"progress"`
	Milestones    []Milestone    `json:"milestones"` // by rank and id
	Tasks         []Task         `json:"tasks"`      // by rank and id
	Members       []Member       `json:"members"`    // by name
	Conversations []Conversation `json:"conversations"`
	// Former are people who appear in it and don't take part any more.
	Former []Person `json:"former"`
	// Positions to subscribe from, by channel: project:ID.
	Positions map[string]Position `json:"positions"`
}

// A Message is one in a conversation.
type Message struct {
	ID             int64        `json:"id"`
	ConversationID int64        `json:"conversation_id"`
	Seq            int64        `json:"seq"`
	AuthorID       *int64       `json:"author_id"`
	Key            string       `json:"key"` // the author's client key
	Body           string       `json:"body"`
	HTML           string       `json:"html"` // sanitized
	CreatedAt      time.Time    `json:"created_at"`
	EditedAt       *time.Time   `json:"edited_at"`
	DeletedAt      *time.Time   `json:"deleted_at"`
	Version        int64        `json:"version"`
	Attachments    []Attachment `json:"attachments"`
}

// An Attachment is a file that goes with a message.
type Attachment struct {
	ID        int64  `json:"id"`
	Name      string `json:"name"`
	MediaType string `json:"media_type"`
	Size      int64  `json:"size"` // bytes
	// Image tells whether it is one that browsers show.
	Image bool `json:"image"`
}

// A Reader says how far somebody has read a conversation.
type Reader struct {
	PersonID int64     `json:"person_id"`
	ReadSeq  int64     `json:"read_seq"`
	ReadAt   time.Time `json:"read_at"`
}

// A Chat is a conversation with the page of messages that is shown first: the newest, or those around the first unread one.
type Chat struct {
	Conversation Conversation `json:"conversation"`
	Messages     []Message    `json:"messages"` // by seq, without gaps
	Readers      []Reader     `json:"readers"`
	// Positions to subscribe from, by channel: chat:ID.
	Positions map[string]Position `json:"positions"`
}

// A MessagePage is a run of messages without gaps.
type MessagePage struct {
	Messages []Message `json:"messages"` // by seq
	LastSeq  int64     `json:"last_seq"` // of the conversation's newest message
}

// A Hit is a message that a search has found.
type Hit struct {
	MessageID      int64     `json:"message_id"`
	ConversationID int64     `json:"conversation_id"`
	ProjectID      int64     `json:"project_id"`
	ProjectName    string    `json:"project_name"`
	Subject        string    `json:"subject"`
	Seq            int64     `json:"seq"`
	AuthorID       *int64    `json:"author_id"`
	AuthorName     string    `json:"author_name"`
	CreatedAt      time.Time `json:"created_at"`
	// Snippet is HTML: escaped text with <mark> around what was found.
	Snippet string `json:"snippet"`
}

// An Entry is a line of the audit trail.
type Entry struct {
	ID         int64          `json:"id"`
	At         time.Time      `json:"at"`
	PersonID   *int64         `json:"person_id"`
	PersonName string         `json:"person_name"`
	Action     string         `json:"action"`
	Subject    string         `json:"subject"`
	Detail     map[string]any `json:"detail"`
}
