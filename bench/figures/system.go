package figures

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
	"github.com/redis/go-redis/v9"

	"github.com/meterd/meterd/internal/embedded"
	"github.com/meterd/meterd/jobs"
	"github.com/meterd/meterd/metering/balance"
)

// system is a meterd up with a folder of its own.
type system struct {
	binary string
	dir    string
	env    []string
	proc   *process
	redis  *redis.Client
	info   embedded.RunInfo
	ready  time.Duration // that its start took

	written atomic.Int64 // bytes that this process has sent to Redis
}

// counted counts what is written.
type counted struct {
	net.Conn

	written *atomic.Int64
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.written.Add(int64(n))
	return n, err
}

// startMax bounds a start on a busy machine.
const startMax = time.Minute

// up starts a system with accounts. Call down when it is no longer needed.
func (b *bench) up(ctx context.Context, accounts string, flags ...string) (*system, error) {
	dir, err := os.MkdirTemp("", "meterd-bench-")
	if err != nil {
		return nil, err
	}
	s := &system{binary: b.Binary, dir: dir}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "METERD_") || strings.HasPrefix(v, "METERD_CHDB") || strings.HasPrefix(v, "METERD_REDIS_SERVER") {
			s.env = append(s.env, v)
		}
	}
	s.env = append(s.env, "METERD_DATA="+filepath.Join(dir, "data"))
	if err := s.start(ctx, flags...); err != nil {
		return nil, errors.Join(err, s.down())
	}
	if accounts != "" {
		if err := s.apply(ctx, accounts); err != nil {
			return nil, errors.Join(err, s.down())
		}
	}
	return s, nil
}

// apply makes its accounts as in the text of a file.
func (s *system) apply(ctx context.Context, accounts string) error {
	file := filepath.Join(s.dir, "accounts.yaml")
	if err := os.WriteFile(file, []byte(accounts), 0o600); err != nil {
		return err
	}
	_, err := s.cli(ctx, "accounts", "apply", "--file", file)
	return err
}

// start starts it on its folder, which may have content.
func (s *system) start(ctx context.Context, flags ...string) (err error) {
	began := time.Now()
	if s.proc, err = s.launch(ctx, append([]string{"up"}, flags...)...); err != nil {
		return err
	}
	s.ready = time.Since(began)
	if s.info, err = embedded.ReadRunFile(filepath.Join(s.dir, "data")); err != nil {
		return err
	}
	s.connect()
	return s.redis.Ping(ctx).Err()
}

// connect opens a connection to its Redis that counts what is written.
func (s *system) connect() {
	s.redis = redis.NewClient(&redis.Options{
		Addr: s.info.Redis, Password: s.info.RedisPassword, PoolSize: 64,
		Dialer: func(ctx context.Context, network, address string) (net.Conn, error) {
			var d net.Dialer
			c, err := d.DialContext(ctx, network, address)
			return &counted{Conn: c, written: &s.written}, err
		},
	})
}

// stop ends the process; its folder stays.
func (s *system) stop() error {
	if s.redis != nil {
		_ = s.redis.Close()
	}
	if s.proc == nil {
		return nil
	}
	err := s.proc.stop()
	s.proc = nil
	return err
}

// process is a meterd that serves.
type process struct {
	cmd   *exec.Cmd
	log   bytes.Buffer
	ended chan error
}

// launch starts a command that serves, and waits until it says that it does.
func (s *system) launch(ctx context.Context, args ...string) (*process, error) {
	p := &process{cmd: exec.CommandContext(context.WithoutCancel(ctx), s.binary, args...), ended: make(chan error, 1)}
	p.cmd.Env, p.cmd.Dir, p.cmd.Stderr = s.env, s.dir, &p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start meterd %s: %w", args[0], err)
	}
	ready := make(chan struct{})
	go func() { // ends with the process
		lines := bufio.NewScanner(out)
		for said := false; lines.Scan(); {
			if !said && strings.HasPrefix(lines.Text(), "ready") {
				said = true
				close(ready)
			}
		}
		p.ended <- p.cmd.Wait()
	}()
	select {
	case <-ready:
		return p, nil
	case err := <-p.ended:
		return nil, fmt.Errorf("meterd %s ended: %w: %s", args[0], err, p.log.String())
	case <-time.After(startMax):
		return nil, errors.Join(fmt.Errorf("meterd %s isn't ready after %s", args[0], startMax), p.stop())
	}
}

// stopMax bounds a stop: what up allows its parts, and some more.
const stopMax = 100 * time.Second

func (p *process) stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-p.ended:
		return err
	case <-time.After(stopMax):
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		return fmt.Errorf("meterd didn't stop within %s and was killed", stopMax)
	}
}

// down ends it and removes its folder.
func (s *system) down() error { return errors.Join(s.stop(), os.RemoveAll(s.dir)) }

// cli runs a command against it.
func (s *system) cli(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, s.binary, args...)
	cmd.Env, cmd.Dir = s.env, s.dir
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("meterd %s: %w: %s", strings.Join(args, " "), err, stderr.String())
	}
	return out.Bytes(), nil
}

// sent is what enqueue --wait --json says.
type sent struct {
	Read        int64   `json:"read"`
	Stored      int64   `json:"stored"`
	Duplicates  int64   `json:"duplicates"`
	Quarantined int64   `json:"quarantined"`
	Seconds     float64 `json:"seconds"`
}

// enqueue sends a file and waits; it wants all of its records stored.
func (s *system) enqueue(ctx context.Context, file string, n int) (sent, error) {
	out, err := s.cli(ctx, "enqueue", "--wait", "--json", file)
	if err != nil {
		return sent{}, err
	}
	var v sent
	if err := json.Unmarshal(out, &v); err != nil {
		return v, fmt.Errorf("meterd enqueue said %q: %w", out, err)
	}
	if v.Stored+v.Duplicates != int64(n) {
		return v, fmt.Errorf("%d of %d records are stored (%d duplicates, %d quarantined)", v.Stored, n, v.Duplicates, v.Quarantined)
	}
	return v, nil
}

// sendFile enqueues a file of n lines and waits: records a second.
func (s *system) sendFile(ctx context.Context, l *load, n int) (float64, error) {
	file := filepath.Join(s.dir, "usage.jsonl")
	if err := l.file(file, n); err != nil {
		return 0, err
	}
	v, err := s.enqueue(ctx, file, n)
	if err != nil {
		return 0, err
	}
	return float64(n) / v.Seconds, nil
}

// send sends lines by the Go client and waits until all have their outcome.
func (s *system) send(ctx context.Context, n int, line func(i int) []byte) (time.Duration, error) {
	run := "bench-" + strconv.FormatInt(time.Now().UnixNano(), 36)
	client, err := jobs.NewClient(s.redis, jobs.ClientOptions{Run: run})
	if err != nil {
		return 0, err
	}
	began := time.Now()
	for i := range n {
		if err := client.Add(ctx, line(i)); err != nil {
			return 0, err
		}
	}
	if err := client.Close(ctx); err != nil {
		return 0, err
	}
	store := balance.New(s.redis, 1)
	for tick := time.NewTicker(5 * time.Millisecond); ; {
		c, err := store.RunCounts(ctx, run)
		if err != nil {
			return 0, err
		}
		if c.Sum() >= int64(n) {
			tick.Stop()
			if c.Quarantined > 0 {
				return 0, fmt.Errorf("%d records were quarantined", c.Quarantined)
			}
			return time.Since(began), nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// processes are meterd and its redis-server.
func (s *system) processes(ctx context.Context) ([]procfs.Proc, error) {
	text, err := s.redis.Info(ctx, "server").Result()
	if err != nil {
		return nil, err
	}
	pids := []int{s.proc.cmd.Process.Pid}
	for line := range strings.SplitSeq(text, "\r\n") {
		if v, ok := strings.CutPrefix(line, "process_id:"); ok {
			pid, err := strconv.Atoi(v)
			if err != nil {
				return nil, err
			}
			pids = append(pids, pid)
		}
	}
	out := make([]procfs.Proc, 0, len(pids))
	for _, pid := range pids {
		p, err := procfs.NewProc(pid)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// use is CPU time and resident memory of both processes.
func (s *system) use(ctx context.Context) (cpu time.Duration, resident int64, err error) {
	list, err := s.processes(ctx)
	if err != nil {
		return 0, 0, err
	}
	for _, p := range list {
		st, err := p.Stat()
		if err != nil {
			return 0, 0, err
		}
		cpu += time.Duration(st.CPUTime() * float64(time.Second))
		resident += int64(st.ResidentMemory())
	}
	return cpu, resident, nil
}

// own is the CPU time of this process.
func own() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
