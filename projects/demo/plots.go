package demo

var plots = []plot{
	{
		name: "Rossi Bakery: online shop", status: "active", due: 24, begun: 31, lead: maya, staff: []string{jonas}, customers: []string{elena, ben},
		summary: "Order bread, cakes and catering online, and collect them at the shop or have them delivered within the town.",
		stages: []stage{
			{name: "Discovery", due: -18, tasks: []job{
				{title: "Kick-off call", doneBy: maya, doneAgo: 29},
				{title: "List what is sold, with prices and allergens", assignee: elena, doneBy: elena, doneAgo: 24, description: "A spreadsheet is fine. One line each; allergens by their usual letters."},
				{title: "Agree on delivery area and times", assignee: elena, doneBy: elena, doneAgo: 20},
			}},
			{name: "Design", due: -3, tasks: []job{
				{title: "Mood board", assignee: jonas, doneBy: jonas, doneAgo: 17},
				{title: "Home page and product page", assignee: jonas, doneBy: jonas, doneAgo: 9},
				{title: "Approve the design", assignee: elena, due: -2, doneBy: elena, doneAgo: 2.2},
				{title: "Photograph the twenty best sellers", assignee: ben, due: 3, description: "Daylight, on the oak board, square. The list is in the conversation."},
			}},
			{name: "Shop", due: 12, tasks: []job{
				{title: "Set up products and categories", assignee: jonas, doneBy: jonas, doneAgo: 1.1},
				{title: "Connect card payments", assignee: jonas, due: 6},
				{title: "Send bank details for payouts", assignee: elena, due: 1},
				{title: "Time slots for collection", assignee: jonas, due: 8},
				{title: "Write the page about us", assignee: elena, due: 9},
			}},
			{name: "Launch", due: 24, tasks: []job{
				{title: "Order three test cakes", assignee: ben, due: 18},
				{title: "Train the shop team", assignee: maya, due: 21},
				{title: "Go live", assignee: jonas, due: 24},
			}},
		},
		talks: []talk{
			{
				subject: "General",
				lines: []speech{
					{maya, 30.9, "Welcome, Elena and Ben. Everything about the shop happens here: tasks on the left, and this chat for whatever comes up."},
					{elena, 30.6, "Lovely, thank you. Ben does the photos, so please ask him rather than me."},
					{jonas, 20.1, "The delivery area is in. Two zones:\n\n| Zone | Fee | From |\n| --- | --- | --- |\n| Town | free | 25 € |\n| Villages | 4 € | 40 € |"},
					{elena, 20.0, "Exactly right."},
					{jonas, 9.2, "The home page and the product page are ready to look at. The accent is the terracotta of your awning."},
					{elena, 8.9, "It looks like *us*. My mother cried a little."},
					{ben, 2.4, "I start with the photos on Thursday, the light is best before nine."},
					{jonas, 2.3, "Perfect, the product pages wait for nothing else."},
				},
				question: &speech{elena, 0, "One thing: can people order **a day ahead only**, or also for the same morning? We bake from four, so before seven would be fine."},
			},
			{
				subject: "Photograph the twenty best sellers", task: "Photograph the twenty best sellers",
				lines: []speech{
					{jonas, 6.3, "These first, they sell most:\n\n1. Rosemary focaccia\n2. Pistachio cornetto\n3. Sourdough, whole and cut\n4. Lemon ricotta cake"},
					{ben, 6.1, "Cut as well as whole is a good idea. I'll do all cakes that way."},
					{jonas, 6.0, "Yes please."},
				},
			},
		},
	},
	{
		name: "Hughes Cycles: website relaunch", status: "active", due: 4, begun: 58, lead: priya, staff: []string{jonas}, customers: []string{tom},
		summary: "A faster site with the workshop's calendar in it.",
		stages: []stage{
			{name: "Content", due: -20, tasks: []job{
				{title: "Move the articles over", assignee: priya, doneBy: priya, doneAgo: 40},
				{title: "Choose twelve photos", assignee: tom, doneBy: tom, doneAgo: 33},
				{title: "Rewrite the workshop prices", assignee: tom, doneBy: tom, doneAgo: 26},
			}},
			{name: "Build", due: -4, tasks: []job{
				{title: "Templates", assignee: jonas, doneBy: jonas, doneAgo: 22},
				{title: "Workshop calendar", assignee: jonas, doneBy: jonas, doneAgo: 12},
				{title: "Book a service from the phone", assignee: jonas, doneBy: jonas, doneAgo: 8},
				{title: "Check on an old phone", assignee: tom, doneBy: tom, doneAgo: 5},
			}},
			{name: "Launch", due: 4, tasks: []job{
				{title: "Redirect the old addresses", assignee: priya, doneBy: priya, doneAgo: 1.4},
				{title: "Last look at everything", assignee: tom, due: 2},
				{title: "Switch over", assignee: priya, due: 4},
			}},
		},
		talks: []talk{{
			subject: "General",
			lines: []speech{
				{tom, 12.5, "Can the calendar show which mechanic it is? People ask for Sam."},
				{priya, 12.3, "It can. Each mechanic has a row now, and a filter."},
				{tom, 12.2, "Brilliant."},
				{priya, 1.3, "Redirects are in: every old address leads somewhere. From here on it is only your last look, Tom."},
				{tom, 0.9, "I do it tomorrow before we open."},
				{priya, 0.8, "No hurry, we switch over on the day you say."},
			},
		}},
	},
	{
		name: "Diallo Dental: booking portal", status: "active", due: 75, begun: 2, lead: maya, staff: []string{jonas}, customers: []string{amara},
		summary: "Patients book, move and cancel appointments themselves.",
		talks: []talk{{
			subject: "General",
			lines: []speech{
				{maya, 1.8, "Hello Amara, this is where we work together. There are no tasks yet: the first ones come after our call on Friday."},
				{amara, 1.6, "Perfect. I will bring our opening hours and the list of treatments."},
				{maya, 1.5, "Wonderful, see you on Friday."},
			},
		}},
	},
	{
		name: "Rossi Bakery: new labels", status: "finished", due: -40, begun: 96, lead: maya, customers: []string{elena},
		summary: "Labels for jars and boxes.",
		stages: []stage{{name: "Labels", due: -45, tasks: []job{
			{title: "Three drafts", assignee: maya, doneBy: maya, doneAgo: 80},
			{title: "Choose one", assignee: elena, doneBy: elena, doneAgo: 74},
			{title: "Print proof", assignee: maya, doneBy: maya, doneAgo: 61},
			{title: "Approve the proof", assignee: elena, doneBy: elena, doneAgo: 58},
			{title: "Deliver 2,000 labels", assignee: maya, doneBy: maya, doneAgo: 44},
		}}},
		talks: []talk{{subject: "General", lines: []speech{
			{elena, 43.5, "They are on the jars, and people pick the jars up to read them. Thank you."},
			{maya, 43.2, "That is the best review a label can get."},
		}}},
	},
}
