package metering

import "strings"

// Audience is the kind of reader that an answer is made for (docs/domain.md,
// Who sees what).
type Audience string

// The audiences.
const (
	AudienceOperator   Audience = "operator"
	AudienceParent     Audience = "parent"
	AudienceEnterprise Audience = "enterprise"
	AudienceReseller   Audience = "reseller"
)

// AudienceEach stands for each sub-account's own report, in a schedule.
const AudienceEach = "each"

// ReservedID tells whether an id would be taken for one of the words that stand,
// or may come to stand, where an account's id may (docs/domain.md, Identifiers): in any
// case, for people write them so. "*" is no id anyway.
func ReservedID(id string) bool {
	switch strings.ToLower(id) {
	case string(AudienceOperator), string(AudienceParent), AudienceEach, "all", "self", "none":
		return true
	}
	return false
}

// View is what as may see of target: as which audience, and the account. An
// empty as is the operator, who sees all; an empty target is as itself, and for
// the operator no account in particular (nil).
//
// A parent sees itself and its sub-accounts as AudienceParent. A sub-account
// sees only itself, as its module's audience. Everything else is
// ErrUnknownAccount, alike for a sibling, a parent, a stranger and an id that
// isn't one; so is an as that isn't an account.
func (s *Snapshot) View(as, target string) (Audience, *Account, error) {
	if as == "" {
		if target == "" {
			return AudienceOperator, nil, nil
		}
		a := s.Accounts[target]
		if a == nil {
			return "", nil, ErrUnknownAccount
		}
		return AudienceOperator, a, nil
	}
	reader := s.Accounts[as]
	if reader == nil || ReservedID(as) {
		return "", nil, ErrUnknownAccount
	}
	if target == "" || target == as {
		return reader.Audience(), reader, nil
	}
	a := s.Accounts[target]
	if a == nil || a.ParentID != as {
		return "", nil, ErrUnknownAccount
	}
	return AudienceParent, a, nil
}

// Audience that the account is for what concerns itself. A sub-account whose
// module isn't known is taken for a reseller's, which is shown the least.
func (a *Account) Audience() Audience {
	switch {
	case a.IsParent():
		return AudienceParent
	case a.Module == Enterprise:
		return AudienceEnterprise
	default:
		return AudienceReseller
	}
}

// VisibleReasons are the suspension reasons of an account that a reader may
// see, in their fixed order. own are the account's flags, inherited what of its
// parent's flags suspends it too (Flags.Inherited).
//
//   - The operator and the parent see all.
//   - An enterprise sub-account sees its own; its parent's wallet or ceiling
//     reads parent_funds. A manual suspension reads manual whoever is its
//     target, for it says nothing of the parent's money.
//   - A reseller sub-account sees none: nil, where the others get at least an
//     empty list.
func VisibleReasons(aud Audience, own, inherited Flags) []string {
	all := (own | inherited).Reasons()
	switch aud {
	case AudienceOperator, AudienceParent:
		return all
	case AudienceEnterprise:
		return ownReasons(all)
	case AudienceReseller:
		return nil
	}
	return nil
}

// ownReasons replaces the reasons that tell of the parent's money.
func ownReasons(all []string) []string {
	out := make([]string, 0, len(all))
	told := false
	for _, r := range all {
		if r != ReasonWalletExhausted && r != ReasonCreditCeiling {
			out = append(out, r)
		} else if !told {
			out = append(out, ReasonParentFunds)
			told = true
		}
	}
	return out
}
