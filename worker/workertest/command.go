package workertest

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// OnCommand is a hook that is told of each command before it is sent.
type OnCommand func(cmd redis.Cmder)

// ProcessHook implements redis.Hook.
func (f OnCommand) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		f(cmd)
		return next(ctx, cmd)
	}
}

// DialHook implements redis.Hook.
func (f OnCommand) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessPipelineHook implements redis.Hook.
func (f OnCommand) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
