package deliver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	"gocloud.dev/blob"
	"gocloud.dev/blob/s3blob"

	"github.com/meterd/meterd/internal/destination"
)

// toBucket puts files into an S3 bucket; an object is there whole or not at all.
// Credentials come from the SDK's environment only.
func toBucket(ctx context.Context, a *destination.Address, files []File) error {
	b, err := openBucket(ctx, a)
	if err != nil {
		return err
	}
	defer func() { _ = b.Close() }() // it holds nothing back
	for _, f := range files {
		if err := putObject(ctx, b, a.Prefix+f.Name, f); err != nil {
			return fmt.Errorf("bucket %s at %s: %w", a.Name, a.Host(), bucketError(err))
		}
	}
	return nil
}

var errNoCredentials = errors.New("no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or a role for the worker")

func openBucket(ctx context.Context, a *destination.Address) (*blob.Bucket, error) {
	// One try: the run is tried again as a whole.
	opts := []func(*config.LoadOptions) error{config.WithRetryMaxAttempts(1)}
	if a.Region != "" {
		opts = append(opts, config.WithRegion(a.Region))
	}
	if a.Endpoint != "" {
		opts = append(opts, config.WithBaseEndpoint(a.Endpoint))
	}
	cfg, err := config.LoadDefaultConfig(ctx, opts...)
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", a.Name, errNoCredentials)
	}
	if cfg.Region == "" && a.Endpoint != "" {
		cfg.Region = "us-east-1" // of servers that have none
	}
	if cfg.Region == "" {
		return nil, fmt.Errorf("%w: bucket %s: no region: give ?region=, or set AWS_REGION for the worker", ErrForGood, a.Name)
	}
	if cfg.Credentials == nil {
		return nil, fmt.Errorf("bucket %s: %w", a.Name, errNoCredentials)
	}
	if _, err := cfg.Credentials.Retrieve(ctx); err != nil {
		return nil, fmt.Errorf("bucket %s: %w", a.Name, errNoCredentials)
	}
	client := s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = a.PathStyle })
	b, err := s3blob.OpenBucket(ctx, client, a.Name, nil)
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", a.Name, bucketError(err))
	}
	return b, nil
}

func putObject(ctx context.Context, b *blob.Bucket, key string, f File) error {
	in, err := os.Open(f.Path)
	if err != nil {
		return fmt.Errorf("read the report again: %w", err)
	}
	defer func() { _ = in.Close() }() // only read
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // before Close: nothing is written
	// One part at a time: each is held in memory.
	w, err := b.NewWriter(ctx, key, &blob.WriterOptions{ContentType: f.Type, MaxConcurrency: 1})
	if err != nil {
		return err
	}
	if _, err := io.Copy(w, in); err != nil {
		cancel()
		return errors.Join(err, w.Close())
	}
	return w.Close()
}

// bucketError is what went wrong, without the request's address and its key.
func bucketError(err error) error {
	var api smithy.APIError
	var status interface{ HTTPStatusCode() int }
	var op *net.OpError
	var addr *url.Error
	switch {
	case errors.As(err, &api):
		code := api.ErrorCode()
		if errors.As(err, &status) {
			return fmt.Errorf("%w: %s (%d)", errRefused, code, status.HTTPStatusCode())
		}
		return fmt.Errorf("%w: %s", errRefused, code)
	case errors.Is(err, context.DeadlineExceeded):
		return errSilent
	case errors.As(err, &op):
		return op
	case errors.As(err, &addr):
		return addr.Err
	case errors.As(err, new(*aws.RequestCanceledError)):
		return errSilent
	default:
		return errUpload
	}
}

var (
	errRefused = errors.New("refused")
	errSilent  = errors.New("no answer in time")
	errUpload  = errors.New("the upload broke off")
)
