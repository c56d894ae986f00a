// Package embedded runs meterd's two engines with nothing to install: the
// ClickHouse engine as a library inside the process, behind ClickHouse's own
// HTTP protocol, and a redis-server child. It decides how they are started,
// guarded and stopped, and that nobody else works on their data folder. What
// is stored in them it leaves to others, who see two addresses as they would
// with real servers.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Database is the name of the database that meterd keeps its tables in.
const Database = "meterd"

// SystemOptions tell how the embedded system is started.
type SystemOptions struct {
	ClickHouse Options
	Redis      RedisOptions
}

// System is both engines, running on one data folder.
type System struct {
	ClickHouse *ClickHouse
	Redis      *Redis

	dir    string
	lock   *folderLock
	server *http.Server
	url    string
	served chan error

	stopOnce sync.Once
	stopErr  error
}

// Start locks dir, which is made where it is missing, and opens both engines
// on it. A folder that another process holds gives an *InUseError, a backup
// ErrIsBackup.
func Start(ctx context.Context, dir string, opts SystemOptions) (*System, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("start the embedded system: %w", err)
	}
	if err := noBackup(dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("data folder %s can't be made: %w: give another --data", dir, err)
	}
	s := &System{dir: dir, served: make(chan error, 1)}
	if s.lock, err = lockFolder(ctx, dir); err != nil {
		return nil, err
	}
	if exists(filepath.Join(dir, restoring)) {
		return nil, errors.Join(fmt.Errorf("data folder %s: %w", dir, ErrHalfRestored), s.lock.release())
	}
	if err := s.open(ctx, opts); err != nil {
		// What has been opened is closed even when ctx is why it failed.
		stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		return nil, errors.Join(err, s.Stop(stopCtx))
	}
	return s, nil
}

func (s *System) open(ctx context.Context, opts SystemOptions) error {
	if err := removeRunFile(s.dir); err != nil {
		return err
	}
	var group errgroup.Group
	group.Go(func() (err error) {
		s.ClickHouse, err = OpenClickHouse(ctx, filepath.Join(s.dir, "clickhouse"), opts.ClickHouse)
		return err
	})
	group.Go(func() (err error) {
		s.Redis, err = StartRedis(ctx, filepath.Join(s.dir, "redis"), opts.Redis)
		return err
	})
	if err := group.Wait(); err != nil {
		return err
	}
	return s.serve(ctx)
}

func (s *System) serve(ctx context.Context) error {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("serve ClickHouse: %w", err)
	}
	s.url = "http://" + listener.Addr().String()
	s.server = &http.Server{Handler: s.ClickHouse, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 5 * time.Minute}
	go func() { s.served <- s.server.Serve(listener) }()
	return nil
}

// Info is what the run file should say. The caller adds HTTP, writes it with
// WriteRunFile once everything serves, and Stop removes it.
func (s *System) Info() RunInfo {
	return RunInfo{
		PID:                os.Getpid(),
		Redis:              s.Redis.Addr(),
		RedisPassword:      s.Redis.Password(),
		ClickHouse:         s.url,
		ClickHousePassword: s.ClickHouse.Password(),
		Database:           Database,
	}
}

// Dir is the data folder.
func (s *System) Dir() string { return s.dir }

// Done is closed when the redis-server child has ended; Err tells why.
func (s *System) Done() <-chan struct{} { return s.Redis.Done() }

// Err tells why the redis-server child ended; nil while it runs.
func (s *System) Err() error { return s.Redis.Err() }

// Stop takes the run file away, waits for the requests in hand, closes
// ClickHouse, and stops Redis last. It may be called again.
func (s *System) Stop(ctx context.Context) error {
	s.stopOnce.Do(func() { s.stopErr = s.stop(ctx) })
	return s.stopErr
}

func (s *System) stop(ctx context.Context) error {
	err := removeRunFile(s.dir)
	if s.server != nil {
		err = errors.Join(err, s.server.Shutdown(ctx))
		if serveErr := <-s.served; !errors.Is(serveErr, http.ErrServerClosed) {
			err = errors.Join(err, serveErr)
		}
	}
	var closeErr error
	if s.ClickHouse != nil {
		closeErr = s.ClickHouse.Close(ctx)
	}
	if s.Redis != nil {
		err = errors.Join(err, s.Redis.Stop(ctx))
	}
	if closeErr != nil {
		// The engine still holds the folder: only the process's end frees it.
		return errors.Join(err, closeErr)
	}
	return errors.Join(err, s.lock.release())
}
