package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/time/rate"

	"github.com/meterd/meterd/internal/embedded"
	"github.com/meterd/meterd/jobs"
	"github.com/meterd/meterd/jobs/importer"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/balance"
)

// enqueueCmd sends files of JSON lines.
type enqueueCmd struct {
	Files []string `arg:"" name:"file" help:"Files of JSON lines, also .gz and .zst; - is standard input."`
	sendOptions
	ShiftToNow bool `help:"Move all times so that the newest is a minute ago."`
}

// sendOptions are of every command that sends records.
type sendOptions struct {
	Wait  bool `help:"Return once every record is stored, a duplicate, quarantined or waiting for its message."`
	Batch int  `help:"Records of a task." default:"8000"`
	Rate  int  `help:"Records a second; 0: as fast as it goes."`
}

// Help implements kong's HelpProvider.
func (*sendOptions) Help() string {
	return "Exit code 0: every line is in the queue and, with --wait, has its outcome; that is 0 too where lines were quarantined, and what was printed says how many. " +
		"1: Redis is away or refuses, or it was stopped; the error says how many lines are safe: send all again, none is charged twice. " +
		"2: the input is wrong, such as a file that isn't there or has no lines."
}

func (o *sendOptions) check(files []string) error {
	if o.Batch < 1 || o.Batch > 10_000 {
		return wrongInput("--batch: from 1 to 10000")
	}
	if o.Rate < 0 {
		return wrongInput("--rate: records a second, 0 or more")
	}
	for _, f := range files { // before anything is sent
		if f == "-" {
			continue
		}
		if st, err := os.Stat(f); err != nil {
			return wrongInput("read usage records: %w", err)
		} else if st.IsDir() {
			return wrongInput("read usage records: %s is a folder", f)
		}
	}
	return nil
}

// sendLinger: records of a file come fast, and larger tasks cost less.
const sendLinger = 50 * time.Millisecond

// enqueued is what it prints.
type enqueued struct {
	Read     int64 `json:"read"`
	Enqueued int64 `json:"enqueued"`
	outcome
	// Unknown counts the records that had a field which isn't defined, by its
	// name: it is kept out.
	Unknown map[string]*int64 `json:"unknown_fields,omitempty"`
}

// Run implements the command.
func (c *enqueueCmd) Run(a *app) error {
	if err := c.check(c.Files); err != nil {
		return err
	}
	s := &sending{app: a, options: c.sendOptions, shiftToNow: c.ShiftToNow}
	out, err := s.run(c.Files)
	if err != nil {
		return err
	}
	return a.showEnqueued(out)
}

// run sends the files and, where asked to, waits for what becomes of them.
func (s *sending) run(files []string) (*enqueued, error) {
	a := s.app
	info, err := a.addresses()
	if err != nil {
		return nil, err
	}
	s.info = info
	rdb, err := openRedis(info.Redis, info.RedisPassword, 16)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rdb.Close() }()
	if err := pingRedis(a.ctx, rdb, &info); err != nil {
		return nil, err
	}
	run := "run-" + uuid.NewString()
	store := balance.New(rdb, a.Partitions)
	if s.options.Wait { // whose counters are in the partitions
		if err := store.Fits(a.ctx); err != nil {
			return nil, err
		}
	}
	if s.client, err = jobs.NewClient(rdb, jobs.ClientOptions{Shards: a.Shards, RecordsMax: s.options.Batch, Linger: sendLinger, Run: run}); err != nil {
		return nil, err
	}
	started := time.Now() //nolint:forbidigo // what the command prints is the machine's own time
	err = s.files(files)
	if e := s.client.Close(a.ctx); e != nil && err == nil {
		err = e
	}
	out := &enqueued{Read: s.read, Enqueued: s.client.Sent(), Unknown: s.unknown}
	s.tellUnknown()
	if err != nil {
		return nil, fmt.Errorf("%w (%d lines read, %d of them are safe in the queue)", err, s.read, s.client.Sent())
	}
	if s.options.Wait {
		if out.outcome, err = s.outcome(rdb, store, run); err != nil {
			return nil, err
		}
		took := time.Since(started).Seconds() //nolint:forbidigo // as above
		out.Seconds = &took
	}
	return out, nil
}

func (a *app) showEnqueued(out *enqueued) error {
	if out.Quarantined != nil && *out.Quarantined > 0 && *out.Quarantined == out.Read {
		_, _ = fmt.Fprintln(a.err, "meterd: EVERY line was quarantined: nothing of this was charged")
	}
	if a.JSON {
		return a.printJSON(out)
	}
	_, _ = fmt.Fprintf(a.out, "%d lines read, %d enqueued\n", out.Read, out.Enqueued)
	if out.Stored != nil {
		out.show(a.out, "quarantined")
	}
	return nil
}

// sending is one run of the command.
type sending struct {
	app        *app
	options    sendOptions
	shiftToNow bool
	// convert makes usage records of what is in a file. Nil: it has a line for
	// each.
	convert func(r io.Reader, emit func(line []byte) error) error
	client  *jobs.Client
	info    embedded.RunInfo
	read    int64
	limit   *rate.Limiter
	shift   time.Duration

	record       metering.Record
	unknown      map[string]*int64
	unknownLines int64
}

func (s *sending) files(names []string) error {
	if s.options.Rate > 0 {
		s.limit = rate.NewLimiter(rate.Limit(s.options.Rate), max(s.options.Rate/10, 1))
	}
	sources := make([]source, 0, len(names))
	for _, f := range names {
		src, err := s.source(f)
		if err != nil {
			return err
		}
		sources = append(sources, src)
	}
	if s.shiftToNow {
		if err := s.measure(sources); err != nil {
			return err
		}
	}
	for _, src := range sources {
		before := s.read
		if err := s.send(src); err != nil {
			return err
		}
		if s.convert == nil && s.read == before { // a log may hold nothing to send yet
			return wrongInput("%s: no lines in it", src.name)
		}
	}
	return nil
}

// source is a file that can be read from its start, more than once.
type source struct {
	name string
	size int64
	open func() (io.ReadCloser, error)
}

func (s *sending) source(name string) (source, error) {
	if name == "-" {
		if !s.shiftToNow {
			return source{name: "standard input", open: func() (io.ReadCloser, error) { return io.NopCloser(s.app.in), nil }}, nil
		}
		all, err := io.ReadAll(s.app.in)
		if err != nil {
			return source{}, fmt.Errorf("read standard input: %w", err)
		}
		return source{name: "standard input", size: int64(len(all)), open: func() (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(all)), nil
		}}, nil
	}
	st, err := os.Stat(name)
	if err != nil {
		return source{}, wrongInput("read usage records: %w", err)
	}
	return source{name: name, size: st.Size(), open: func() (io.ReadCloser, error) { return os.Open(name) }}, nil //nolint:gosec // the user names it
}

// decompressed calls f with what is in the source.
func decompressed(src source, wrap func(io.Reader) io.Reader, f func(r io.Reader) error) error {
	file, err := src.open()
	if err != nil {
		return wrongInput("read usage records: %w", err)
	}
	defer func() { _ = file.Close() }()
	var r io.Reader = file
	if wrap != nil {
		r = wrap(r)
	}
	switch {
	case strings.HasSuffix(src.name, ".gz"):
		z, err := gzip.NewReader(r)
		if err != nil {
			return wrongInput("%s: not a gzip file: %w", src.name, err)
		}
		r = z
	case strings.HasSuffix(src.name, ".zst"):
		z, err := zstd.NewReader(r)
		if err != nil {
			return wrongInput("%s: not a zstd file: %w", src.name, err)
		}
		defer z.Close()
		r = z
	}
	return f(r)
}

// lines calls f for each line that isn't empty.
func lines(src source, wrap func(io.Reader) io.Reader, f func(n int, line []byte) error) error {
	return decompressed(src, wrap, func(r io.Reader) error { return eachLine(src.name, r, f) })
}

func eachLine(name string, r io.Reader, f func(n int, line []byte) error) error {
	br, err := importer.Text(r)
	if err != nil {
		return wrongInput("%s: %w", name, err)
	}
	for n := 1; ; n++ {
		line, err := readLine(br)
		if len(line) > 0 {
			if err := f(n, line); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, jobs.ErrLine):
			return wrongInput("%s, line %d: longer than %d MiB: not a usage record", name, n, jobs.LineMax>>20)
		case err != nil:
			return wrongInput("%s, line %d: %w", name, n, err)
		}
	}
}

// readLine reads one line without its end. The slice holds until the next call.
func readLine(br *bufio.Reader) ([]byte, error) {
	line, err := br.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		long := bytes.Clone(line)
		for errors.Is(err, bufio.ErrBufferFull) {
			if len(long) > jobs.LineMax {
				return nil, jobs.ErrLine
			}
			line, err = br.ReadSlice('\n')
			long = append(long, line...)
		}
		line = long
	}
	line = bytes.TrimSuffix(line, []byte{'\n'})
	return bytes.TrimRight(line, "\r"), err //nolint:wrapcheck // io.EOF is compared
}

// unknownMax bounds the names of fields that are counted one by one.
const unknownMax = 100

// otherFields stands for the names beyond unknownMax.
const otherFields = "(others)"

// look counts the fields of a line that aren't defined.
func (s *sending) look(line []byte) {
	if metering.DecodeRecord(line, &s.record) != nil || len(s.record.Unknown) == 0 {
		return // a line that isn't a record is quarantined with its reason
	}
	if s.unknown == nil {
		s.unknown = map[string]*int64{}
	}
	s.unknownLines++
	for _, name := range s.record.Unknown {
		n := s.unknown[name]
		if n == nil && len(s.unknown) >= unknownMax {
			name, n = otherFields, s.unknown[otherFields]
		}
		if n == nil {
			n = new(int64)
			s.unknown[strings.Clone(name)] = n // it shares memory with the line, and a map keeps the key that it was given last
		}
		*n++
	}
}

// tellUnknown says which fields were kept out.
func (s *sending) tellUnknown() {
	if s.unknownLines == 0 {
		return
	}
	names := make([]string, 0, len(s.unknown))
	for _, name := range slices.Sorted(maps.Keys(s.unknown)) {
		names = append(names, fmt.Sprintf("%q in %d", name, *s.unknown[name]))
	}
	_, _ = fmt.Fprintf(s.app.err, "meterd: %d records have fields that aren't defined; these are kept out: %s\n", s.unknownLines, strings.Join(names, ", "))
}

// measure finds how far times must move.
func (s *sending) measure(sources []source) error {
	var newest time.Time
	var r metering.Record
	for _, src := range sources {
		if err := lines(src, nil, func(_ int, line []byte) error {
			if metering.DecodeRecord(line, &r) == nil && r.OccurredAt.After(newest) {
				newest = r.OccurredAt
			}
			return nil
		}); err != nil {
			return err
		}
	}
	if newest.IsZero() {
		return wrongInput("--shift-to-now: no record has a time")
	}
	s.shift = time.Now().Add(-time.Minute).Sub(newest) //nolint:forbidigo // now is what is asked for
	return nil
}

var occurredAt = regexp.MustCompile(`("occurred_at"\s*:\s*")([^"\\]*)(")`)

// shifted moves the line's time; a line without one stays as it is.
func shifted(line []byte, by time.Duration) []byte {
	m := occurredAt.FindSubmatchIndex(line)
	if m == nil {
		return line
	}
	t, err := time.Parse(time.RFC3339Nano, string(line[m[4]:m[5]]))
	if err != nil {
		return line
	}
	out := append([]byte{}, line[:m[4]]...)
	out = t.Add(by).AppendFormat(out, time.RFC3339Nano)
	return append(out, line[m[5]:]...)
}

// send adds each line of a source to the client, with a progress bar on a
// terminal.
func (s *sending) send(src source) error {
	var wrap func(io.Reader) io.Reader
	if f, ok := s.app.err.(*os.File); ok && isTerminal(f) && !s.app.JSON {
		p := mpb.New(mpb.WithOutput(f), mpb.WithWidth(60))
		b := p.AddBar(src.size,
			mpb.PrependDecorators(decor.Name("enqueue "+src.name+" "), decor.Percentage()),
			mpb.AppendDecorators(decor.AverageSpeed(decor.SizeB1024(0), "% .1f"), decor.Name(" "), decor.AverageETA(decor.ET_STYLE_GO)),
		)
		wrap = func(r io.Reader) io.Reader {
			if pr, err := b.ProxyReader(r); err == nil {
				return pr
			}
			return r // the bar has ended
		}
		defer func() {
			b.SetTotal(-1, true)
			p.Wait()
		}()
	}
	if s.convert == nil {
		return lines(src, wrap, func(_ int, line []byte) error { return s.add(line) })
	}
	return decompressed(src, wrap, func(r io.Reader) error {
		if err := s.convert(r, s.add); err != nil {
			return fmt.Errorf("%s: %w", src.name, err)
		}
		return nil
	})
}

// add sends one line.
func (s *sending) add(line []byte) error {
	if s.limit != nil {
		if err := s.limit.Wait(s.app.ctx); err != nil {
			return fmt.Errorf("stopped: %w", err)
		}
	}
	if s.shiftToNow {
		line = shifted(line, s.shift)
	}
	if err := s.app.ctx.Err(); err != nil {
		return fmt.Errorf("stopped: %w", err)
	}
	s.read++
	s.look(line)
	return s.client.Add(s.app.ctx, line)
}
