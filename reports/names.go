package reports

import (
	"github.com/meterd/meterd/reports/render"
)

// label is an account's name beside its id.
func label(name, id string) string {
	if name == "" || name == id {
		return id
	}
	return render.Isolated(name) + render.Beside + id
}

// named is a name that a statement's document shows, and the id beside it.
type named struct {
	name *string
	id   string
}

func names(st Statement) []named {
	var out []named
	switch st := st.(type) {
	case *ParentStatement:
		out = append(out, named{&st.Name, st.Account})
		for i := range st.Accounts {
			out = append(out, named{&st.Accounts[i].Name, st.Accounts[i].Account})
		}
	case *EnterpriseStatement:
		out = append(out, named{&st.Name, st.Account})
	case *ActivityStatement:
		out = append(out, named{&st.Name, st.Account})
	case *ActivityOverview:
		out = append(out, named{&st.Name, st.Account})
		for i := range st.Accounts {
			out = append(out, named{&st.Accounts[i].Name, st.Accounts[i].Account})
		}
	case *WalletStatement:
		out = append(out, named{&st.Name, st.Account})
		for i := range st.Purses {
			out = append(out, named{&st.Purses[i].Name, st.Purses[i].Account})
		}
	}
	return out
}

// noFont says why ids stand where names should, and what helps: whoever runs meterd can
// do it, whoever else reads it can tell them.
const noFont = "Some names are shown as ids: they have letters that no font here has. To show them, run deploy/setup.sh --fonts " +
	"where reports are made, or set METERD_FONTS to a folder of fonts."

// printed is the document of a PDF, which can show only what there are fonts for: in
// place of other names stand the ids. A browser and a workbook's reader have their own.
func printed(st Statement, lacks func(name string) bool) *render.Document {
	lacking := false
	for _, n := range names(st) {
		if name := *n.name; lacks(name) {
			*n.name, lacking = n.id, true
			defer func() { *n.name = name }()
		}
	}
	d := st.document()
	if lacking {
		d.Notes = append(d.Notes, render.Note{Level: render.Plain, Text: noFont})
	}
	return d
}
