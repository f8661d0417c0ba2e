package auth

import "time"

// maxAnswers bounds how many answers are kept: at some 300 bytes each, 20 MB.
const maxAnswers = 1 << 16

// A question is what a function is asked.
type question struct {
	function string
	user     string
	channel  string
	action   Action
}

// answers remembers what functions said, by user, so that all of one's can be forgotten at once. It is not safe for
// concurrent use.
type answers struct {
	users map[string]map[question]answer
	count int
	most  int
}

type answer struct {
	allowed bool
	at      time.Time // when it was asked
}

func newAnswers(most int) *answers {
	return &answers{users: make(map[string]map[question]answer), most: most}
}

// get returns an answer no older than an age.
func (a *answers) get(q question, now time.Time, age time.Duration) (allowed, ok bool) {
	found, ok := a.users[q.user][q]
	if !ok {
		return false, false
	}
	if now.Sub(found.at) >= age {
		a.drop(q)
		return false, false
	}
	return found.allowed, true
}

func (a *answers) put(q question, allowed bool, at time.Time) {
	user := a.users[q.user]
	if _, ok := user[q]; !ok {
		if a.count >= a.most {
			a.makeRoom()
			user = a.users[q.user]
		}
		a.count++
	}
	if user == nil {
		user = make(map[question]answer)
		a.users[q.user] = user
	}
	user[q] = answer{allowed, at}
}

// makeRoom drops an eighth, of whichever users come first: what is dropped is asked again.
func (a *answers) makeRoom() {
	for _, user := range a.users {
		for q := range user {
			if a.count <= a.most-max(1, a.most/8) {
				return
			}
			a.drop(q)
		}
	}
}

func (a *answers) drop(q question) {
	user := a.users[q.user]
	if _, ok := user[q]; !ok {
		return
	}
	a.count--
	if delete(user, q); len(user) == 0 {
		delete(a.users, q.user)
	}
}

// forget drops what is known of a user and a channel; "" means all channels.
func (a *answers) forget(user, channel string) {
	for q := range a.users[user] {
		if channel == "" || q.channel == channel {
			a.drop(q)
		}
	}
}

func (a *answers) clear() {
	clear(a.users)
	a.count = 0
}
