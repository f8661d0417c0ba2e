package demo

// Password is everybody's. It is public, so demo people belong into databases that only their owner reaches.
const Password = "try-it-yourself"

const organisation = "Northlight Studio"

// A castMember is one of the demo people.
type castMember struct {
	email, name, company, title string
	staff, admin                bool
	zone                        string
}

var cast = []castMember{
	{email: "maya@northlight.example", name: "Maya Okafor", title: "Runs the studio, sees all projects", staff: true, admin: true, zone: "Europe/London"},
	{email: "jonas@northlight.example", name: "Jonas Weber", title: "Guides the bakery and the dentist", staff: true, zone: "Europe/Berlin"},
	{email: "priya@northlight.example", name: "Priya Raman", title: "Guides the cycle shop", staff: true, zone: "Europe/London"},
	{email: "elena@rossi.example", name: "Elena Rossi", company: "Rossi Bakery", title: "Customer, waits for her online shop", zone: "Europe/Rome"},
	{email: "ben@rossi.example", name: "Ben Carter", company: "Rossi Bakery", title: "Customer, does the photos for the shop", zone: "Europe/Rome"},
	{email: "tom@hughescycles.example", name: "Tom Hughes", company: "Hughes Cycles", title: "Customer, nearly there with his website", zone: "Europe/London"},
	{email: "amara@diallodental.example", name: "Amara Diallo", company: "Diallo Dental", title: "Customer, has just begun", zone: "Europe/Paris"},
}

// Titles say what the demo people are, by their addresses.
func Titles() map[string]string {
	titles := make(map[string]string, len(cast))
	for _, c := range cast {
		titles[c.email] = c.title
	}
	return titles
}

// A plot is a project of the demo.
type plot struct {
	name, summary, status string
	due                   int // days from the day of seeding
	begun                 int // days before it
	lead                  string
	staff, customers      []string
	stages                []stage
	talks                 []talk
}

type stage struct {
	name  string
	due   int
	tasks []job
}

// A job is a task: whose it is, when it is due and, if it is done, by whom and how many days ago.
type job struct {
	title, assignee string
	due             int
	doneBy          string
	doneAgo         float64
	description     string
}

// A talk is a conversation; on a task if task is its title. Staff has its last line, so that nothing but the question waits.
type talk struct {
	subject, task string
	lines         []speech
	question      *speech // asked in the end, through the store: it is waiting for an answer, and somebody is notified
}

type speech struct {
	by   string
	ago  float64 // days
	text string
}

const (
	maya  = "maya@northlight.example"
	jonas = "jonas@northlight.example"
	priya = "priya@northlight.example"
	elena = "elena@rossi.example"
	ben   = "ben@rossi.example"
	tom   = "tom@hughescycles.example"
	amara = "amara@diallodental.example"
)
