// Package smtp sends mails by SMTP.
//
//	options, err := smtp.ParseURL("smtp://user:secret@mail.example.com:587")
//	…
//	sender, err := smtp.New(options)
//	…
//	defer sender.Close()
//	err = sender.Send(ctx, envelope, commit)
//
// It keeps connections open for the next mail, limits how many mails a second go out, and says of each mail that failed whose
// fault it was and whether the server may have it: see [mail.SendError] and docs/smtp.md.
package smtp
