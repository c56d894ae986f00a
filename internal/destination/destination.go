// Package destination reads where a report may go: a folder, an S3 bucket, a mail
// address, a webhook. It opens nothing and knows nothing of accounts.
package destination

import (
	"errors"
	"fmt"
	"net/mail"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Kind of a destination.
type Kind string

// The kinds.
const (
	Folder Kind = "folder" // file:DIR
	Bucket Kind = "bucket" // s3://bucket/prefix
	Mail   Kind = "mail"   // mailto:a@x,b@y
	Hook   Kind = "hook"   // https://…
)

// ErrAddress says that a text is no destination.
var ErrAddress = errors.New("not a destination")

// Address is a destination, taken apart.
type Address struct {
	Kind Kind
	Text string // as it was given

	Dir string // of a folder

	Name      string // of a bucket
	Prefix    string // of its objects' keys, "" or ending in /
	Region    string
	Endpoint  string // of an S3 server that isn't Amazon's
	PathStyle bool   // the bucket's name in the path, not in the host

	To []string // mail addresses
}

// Stores tells whether files stay there, so that others can be told where.
func (a *Address) Stores() bool { return a.Kind == Folder || a.Kind == Bucket }

// Place is where a file lies at a destination that stores it.
func (a *Address) Place(file string) string {
	if a.Kind == Bucket {
		return "s3://" + a.Name + "/" + a.Prefix + file
	}
	return "file:" + strings.TrimSuffix(a.Dir, "/") + "/" + file
}

var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

// Parse reads a destination.
func Parse(text string) (*Address, error) {
	u, err := url.Parse(text)
	if err != nil || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return nil, fmt.Errorf("%w: give mailto:ADDRESS, file:DIR, s3://BUCKET/PREFIX or an https address", ErrAddress)
	}
	a := &Address{Text: text}
	switch u.Scheme {
	case "file":
		err = a.folder(u)
	case "s3":
		err = a.bucket(u)
	case "mailto":
		err = a.mail(u)
	case "http", "https":
		a.Kind = Hook
		if u.Host == "" || u.User != nil || u.Fragment != "" {
			err = fmt.Errorf("%w: an https address has a host, and neither a user nor a fragment", ErrAddress)
		}
	default:
		err = fmt.Errorf("%w: give mailto:ADDRESS, file:DIR, s3://BUCKET/PREFIX or an https address", ErrAddress)
	}
	if err != nil {
		return nil, err
	}
	return a, nil
}

func (a *Address) folder(u *url.URL) error {
	dir := u.Opaque
	if dir == "" {
		dir = u.EscapedPath()
	}
	dir, err := url.PathUnescape(dir)
	if err != nil || dir == "" || u.Host != "" || u.RawQuery != "" || u.Fragment != "" || strings.ContainsRune(dir, 0) {
		return fmt.Errorf("%w: give a folder as file:DIR or file:///DIR, with %%3F and %%23 for ? and #", ErrAddress)
	}
	a.Kind, a.Dir = Folder, dir
	return nil
}

func (a *Address) bucket(u *url.URL) error {
	if u.User != nil || u.Fragment != "" || u.Opaque != "" {
		return fmt.Errorf("%w: a bucket is s3://BUCKET/PREFIX?region=REGION; its credentials stand in the worker's environment", ErrAddress)
	}
	if !bucketName.MatchString(u.Host) {
		return fmt.Errorf("%w: %q isn't a bucket's name", ErrAddress, u.Host)
	}
	a.Kind, a.Name = Bucket, u.Host
	a.Prefix = strings.Trim(u.Path, "/")
	if a.Prefix != "" {
		if slices.ContainsFunc(strings.Split(a.Prefix, "/"), func(s string) bool { return s == "" || s == "." || s == ".." }) {
			return fmt.Errorf("%w: a prefix has no part that is empty, . or .. (two dots)", ErrAddress)
		}
		a.Prefix += "/"
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return fmt.Errorf("%w: a bucket takes region, endpoint and use_path_style after ?", ErrAddress)
	}
	for key, v := range q {
		if len(v) != 1 {
			return fmt.Errorf("%w: %s is there twice", ErrAddress, key)
		}
		switch key {
		case "region":
			a.Region = v[0]
		case "endpoint":
			e, err := url.Parse(v[0])
			if err != nil || e.Scheme != "http" && e.Scheme != "https" || e.Host == "" || e.User != nil || e.RawQuery != "" {
				return fmt.Errorf("%w: endpoint: give the http or https address of an S3 server, without a user", ErrAddress)
			}
			a.Endpoint = strings.TrimSuffix(v[0], "/")
		case "use_path_style":
			if v[0] != "true" && v[0] != "false" {
				return fmt.Errorf("%w: use_path_style: give true or false", ErrAddress)
			}
		default:
			return fmt.Errorf("%w: a bucket takes region, endpoint and use_path_style after ?, not %q", ErrAddress, key)
		}
	}
	// Few servers other than Amazon's have a host for each bucket.
	a.PathStyle = q.Get("use_path_style") == "true" || a.Endpoint != "" && !q.Has("use_path_style")
	return nil
}

func (a *Address) mail(u *url.URL) error {
	text, err := url.PathUnescape(u.Opaque)
	if err != nil || u.RawQuery != "" || u.Fragment != "" || u.Host != "" {
		return fmt.Errorf("%w: mailto takes addresses only, such as mailto:finance@example.com", ErrAddress)
	}
	list, err := mail.ParseAddressList(text)
	if err != nil || len(list) == 0 {
		return fmt.Errorf("%w: give mailto:ADDRESS, or several with commas between", ErrAddress)
	}
	a.Kind = Mail
	for _, x := range list {
		a.To = append(a.To, x.Address)
	}
	return nil
}

// Split gives each mail address a destination of its own, so that one that is
// refused holds back no other; anything else stays as it is.
func (a *Address) Split() []string {
	if a.Kind != Mail || len(a.To) < 2 {
		return []string{a.Text}
	}
	out := make([]string, len(a.To))
	for i, to := range a.To {
		out[i] = (&url.URL{Scheme: "mailto", Opaque: url.PathEscape(to)}).String()
	}
	return out
}

// Host is what of a destination may be shown in logs, and what its deliveries
// share: the server, or the folder.
func (a *Address) Host() string {
	switch a.Kind {
	case Folder:
		return "folder"
	case Mail:
		return "mail"
	case Bucket:
		if u, err := url.Parse(a.Endpoint); err == nil && u.Host != "" {
			return u.Host
		}
		return "s3"
	case Hook:
	}
	u, err := url.Parse(a.Text)
	if err != nil {
		return "hook"
	}
	return u.Host
}
