// Package devmail keeps mails in a folder instead of sending them, and shows them to whoever develops on this machine.
//
//	box, err := devmail.Open("/tmp/mails", 0)
//	…
//	http.Handle("/dev/mail", box.Handler())
//	http.Handle("/dev/mail/", box.Handler())
//	http.Handle("/dev/mail.json", box.Handler())
//
// A [Box] is a [mail.Sender] that never fails but for want of room. Mails have secrets in them, such as links that unsubscribe:
// [Box.Handler] shows them to programs on this machine only, and belongs on a server that listens on a loopback address.
package devmail
