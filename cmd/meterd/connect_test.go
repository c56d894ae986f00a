package main

import (
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestOpenRedis(t *testing.T) {
	t.Parallel()
	single := func(address, addr, user, password string, tls bool) {
		t.Helper()
		c, err := openRedis(address, "given", 4)
		require.NoError(t, err, address)
		defer func() { _ = c.Close() }()
		one, ok := c.(*redis.Client)
		require.True(t, ok, "%s is a single Redis", address)
		o := one.Options()
		assert.Equal(t, []any{addr, user, password, tls, 4}, []any{o.Addr, o.Username, o.Password, o.TLSConfig != nil, o.PoolSize}, address)
	}
	single("127.0.0.1:7000", "127.0.0.1:7000", "", "given", false)
	single("redis://10.0.0.1:7000/2", "10.0.0.1:7000", "", "given", false)
	single("rediss://me:a,b@cache:7000", "cache:7000", "me", "a,b", true)

	cluster := func(address string, nodes []string, user, password string, tls bool) {
		t.Helper()
		c, err := openRedis(address, "given", 4)
		require.NoError(t, err, address)
		defer func() { _ = c.Close() }()
		many, ok := c.(*redis.ClusterClient)
		require.True(t, ok, "%s is a cluster", address)
		o := many.Options()
		assert.Equal(t, []any{nodes, user, password, tls, 4}, []any{o.Addrs, o.Username, o.Password, o.TLSConfig != nil, o.PoolSize}, address)
		if tls {
			assert.Empty(t, o.TLSConfig.ServerName)
		}
	}
	cluster("a:7000,b:7001", []string{"a:7000", "b:7001"}, "", "given", false)
	cluster("redis://a:7000,b:7001,c:7002", []string{"a:7000", "b:7001", "c:7002"}, "", "given", false)
	cluster("rediss://me:s,e@a:7000,b:7001", []string{"a:7000", "b:7001"}, "me", "s,e", true)

	for _, wrong := range []string{"a:7000,b", "a:7000,", "redis://a:7000,b:7001/1", "me:secret@a:7000,b:7001", "http://a:1", "http://a:1,b:1", ":secret@a:1", "redis:secret@a", "secret@a:1", "a:1,:secret@b:2"} {
		_, err := openRedis(wrong, "", 4)
		var in *inputError
		require.ErrorAs(t, err, &in, wrong)
		assert.NotContains(t, err.Error(), "secret")
	}
}
