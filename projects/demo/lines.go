package demo

// What people say in the simulation.
var (
	questions = []string{
		"Is there anything you need from me this week?",
		"How long does the next step take, roughly?",
		"Can we still change the order of these two?",
		"Who looks at this before it goes out?",
		"I have a photo that might fit here. Where should I put it?",
		"Does this work on a tablet as well?",
		"My colleague asks whether we can see a draft before Friday.",
	}
	answers = []string{
		"Yes, that is fine. I'll put it on the list.",
		"About two days. You see it here when it moves.",
		"Good question. Let me check and come back to you today.",
		"You do, and nobody else before you. Nothing goes out without your word.",
		"Just drop it into this chat, I'll take it from here.",
		"It does. I tried it this morning.",
		"Sure: Thursday afternoon.",
	}
	remarks = []string{
		"Done with that one, on to the next.",
		"This looks really good.",
		"Thanks, that was quick.",
		"I had another look, and I am happy with it.",
		"Small update: on track.",
	}
)
