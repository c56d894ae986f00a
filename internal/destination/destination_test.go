package destination

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Address{
		"file:reports/daily":    {Kind: Folder, Dir: "reports/daily"},
		"file:/srv/a b":         {Kind: Folder, Dir: "/srv/a b"},
		"file:///srv/a%20b%3F":  {Kind: Folder, Dir: "/srv/a b?"},
		"s3://acme-reports":     {Kind: Bucket, Name: "acme-reports"},
		"mailto:a@x.example":    {Kind: Mail, To: []string{"a@x.example"}},
		"https://x.example/h?a": {Kind: Hook},
		"s3://b-1/a/b/?region=eu-south-1": {
			Kind: Bucket, Name: "b-1", Prefix: "a/b/", Region: "eu-south-1",
		},
		"s3://b-1/a?endpoint=http://127.0.0.1:9000/": {
			Kind: Bucket, Name: "b-1", Prefix: "a/", Endpoint: "http://127.0.0.1:9000", PathStyle: true,
		},
		"s3://b-1?endpoint=https://s.example&use_path_style=false": {Kind: Bucket, Name: "b-1", Endpoint: "https://s.example"},
		"mailto:a@x.example,B%20%3Cb@y.example%3E":                 {Kind: Mail, To: []string{"a@x.example", "b@y.example"}},
	} {
		got, err := Parse(text)
		require.NoError(t, err, text)
		want.Text = text
		require.Equal(t, &want, got, text)
		for _, part := range got.Split() {
			p, err := Parse(part)
			require.NoError(t, err, part)
			require.Equal(t, got.Kind, p.Kind)
			if got.Kind == Mail {
				require.Len(t, p.To, 1)
			}
		}
	}
	for _, text := range []string{
		"", "reports", "sms:1", "mem://x", "gs://x", "azblob://x", "file:", "file://host/dir", "file:a?b", "file:a%zz", "file:a%00b", "file:a\nb",
		"s3://", "s3://B", "s3://a", "s3://user:secret@bucket", "s3://bucket/../x", "s3://bucket/a//b", "s3://bucket?endpoint=file:///etc",
		"s3://bucket?endpoint=https://u:secret@h", "s3://bucket?secret_access_key=secret", "s3://bucket?region=a&region=b", "s3://bucket?use_path_style=maybe",
		"mailto:", "mailto:nobody", "mailto:a@x.example?bcc=b@y.example", "mailto:a@x.example,,b",
		"https://", "https://u:secret@h/", "https://h/#x", "http:/x",
	} {
		_, err := Parse(text)
		require.ErrorIs(t, err, ErrAddress, text)
		require.NotContains(t, err.Error(), "secret@", text)
	}
}

func TestHostAndPlace(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][2]string{
		"file:reports/":                         {"folder", "file:reports/x.csv"},
		"file:///srv":                           {"folder", "file:/srv/x.csv"},
		"s3://acme/2026":                        {"s3", "s3://acme/2026/x.csv"},
		"s3://acme?endpoint=http://127.0.0.1:9": {"127.0.0.1:9", "s3://acme/x.csv"},
	} {
		a, err := Parse(text)
		require.NoError(t, err)
		require.True(t, a.Stores())
		require.Equal(t, want, [2]string{a.Host(), a.Place("x.csv")})
	}
	for text, want := range map[string]string{"https://h.example/token-secret": "h.example", "mailto:a@x.example": "mail"} {
		a, err := Parse(text)
		require.NoError(t, err)
		require.Equal(t, want, a.Host())
		require.False(t, a.Stores())
	}
}
