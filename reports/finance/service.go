package finance

import "errors"

// ErrFOCUS says that an option of a FOCUS export is wrong.
var ErrFOCUS = errors.New("focus")

// walletService is the service of top-ups.
const walletService = "wallet"

// category of a channel. FOCUS has none for messaging platforms.
func (o *FOCUSOptions) category(channel string) string {
	if c := o.Categories[channel]; c != "" {
		return c
	}
	switch channel {
	case "sms", "mms", "rcs", "whatsapp", "voice":
		return "Mobile"
	case "email":
		return "Web"
	default:
		return "Other"
	}
}

// serviceCategories are all that FOCUS allows.
func serviceCategories() []string {
	return []string{
		"AI and Machine Learning", "Analytics", "Business Applications", "Compute", "Databases", "Developer Tools", "Identity", "Integration",
		"Internet of Things", "Management and Governance", "Media", "Migration", "Mobile", "Multicloud", "Networking", "Security", "Storage", "Web", "Other",
	}
}
