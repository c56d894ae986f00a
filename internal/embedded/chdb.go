package embedded

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"unsafe"

	"github.com/ebitengine/purego"
)

// library is the loaded engine: one per process, since the engine keeps its
// state in globals of its own.
type library struct {
	connect            func(argc int32, argv **byte) uintptr
	closeConn          func(conn uintptr)
	setSignalHandlers  func(enabled int32)
	queryParams        func(conn uintptr, sql *byte, sqlLen uintptr, format *byte, formatLen uintptr, names **byte, nameLens *uintptr, values **byte, valueLens *uintptr, count uintptr) uintptr
	streamInsertParams func(conn uintptr, sql *byte, sqlLen uintptr, format *byte, formatLen uintptr, names **byte, nameLens *uintptr, values **byte, valueLens *uintptr, count uintptr) uintptr
	streamAppend       func(stream uintptr, data *byte, length uintptr) int32
	streamDone         func(stream uintptr) uintptr
	streamCancel       func(stream uintptr)
	streamError        func(stream uintptr) uintptr
	streamDestroy      func(stream uintptr)
	queryStream        func(conn uintptr, sql *byte, sqlLen uintptr, format *byte, formatLen uintptr, names **byte, nameLens *uintptr, values **byte, valueLens *uintptr, count uintptr) uintptr
	queryFetch         func(conn, stream uintptr) uintptr
	queryCancel        func(conn, stream uintptr)
	resultBuffer       func(result uintptr) uintptr
	resultLength       func(result uintptr) uintptr
	resultError        func(result uintptr) uintptr
	resultRowsRead     func(result uintptr) uint64
	resultRowsWritten  func(result uintptr) uint64
	resultDestroy      func(result uintptr)
}

// loadLibrary opens the engine at path once; later calls return the first.
var loadLibrary = loader() //nolint:gochecknoglobals // the engine is one per process: loading it twice would share its globals

func loader() func(path string) (*library, error) {
	var (
		once sync.Once
		lib  *library
		err  error
	)
	return func(path string) (*library, error) {
		once.Do(func() { lib, err = openLibrary(path) })
		return lib, err
	}
}

func openLibrary(path string) (*library, error) {
	handle, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, fmt.Errorf("load the ClickHouse engine %s: %w (run `make setup`)", path, err)
	}
	lib := &library{}
	for _, bind := range []struct {
		target any
		name   string
	}{
		{&lib.connect, "chdb_connect"},
		{&lib.closeConn, "chdb_close_conn"},
		{&lib.setSignalHandlers, "chdb_set_signal_handlers_enabled"},
		{&lib.queryParams, "chdb_query_with_params_n"},
		{&lib.streamInsertParams, "chdb_stream_insert_with_params_n"},
		{&lib.streamAppend, "chdb_stream_append"},
		{&lib.streamDone, "chdb_stream_done"},
		{&lib.streamCancel, "chdb_stream_cancel_insert"},
		{&lib.streamError, "chdb_stream_insert_error"},
		{&lib.streamDestroy, "chdb_destroy_insert_stream"},
		{&lib.queryStream, "chdb_stream_query_with_params_n"},
		{&lib.queryFetch, "chdb_stream_fetch_result"},
		{&lib.queryCancel, "chdb_stream_cancel_query"},
		{&lib.resultBuffer, "chdb_result_buffer"},
		{&lib.resultLength, "chdb_result_length"},
		{&lib.resultError, "chdb_result_error"},
		{&lib.resultRowsRead, "chdb_result_rows_read"},
		{&lib.resultRowsWritten, "chdb_result_rows_written"},
		{&lib.resultDestroy, "chdb_destroy_query_result"},
	} {
		symbol, err := purego.Dlsym(handle, bind.name)
		if err != nil {
			return nil, fmt.Errorf("engine %s lacks %s: another version than this build expects (run `make setup`): %w", path, bind.name, err)
		}
		purego.RegisterFunc(bind.target, symbol)
	}
	keepSignals(func() { lib.setSignalHandlers(0) })
	return lib, nil
}

// conn is one connection of the engine. It runs one statement at a time;
// the pool sees to that.
type conn struct {
	lib    *library
	handle uintptr // what chdb_connect returned: a pointer to the connection
	inner  uintptr // what the query calls take

	mark     string            // the log_comment that its statements carry
	database string            // what USE last chose
	settings map[string]string // what SET last chose, beyond the base
}

// params are the values of a statement's {name:Type} placeholders, in the
// escaped text form that the HTTP protocol uses as well.
type params struct {
	names, values []string
}

// result is what a statement produced.
type result struct {
	data        []byte
	rowsRead    uint64
	rowsWritten uint64
}

func (l *library) open(args []string) (*conn, error) {
	argv := make([]*byte, 0, len(args)+1)
	for _, arg := range args {
		argv = append(argv, unsafe.SliceData(append([]byte(arg), 0)))
	}
	argv = append(argv, nil)
	var pinner runtime.Pinner
	defer pinner.Unpin()
	for _, arg := range argv[:len(args)] {
		pinner.Pin(arg)
	}
	var handle uintptr
	keepSignals(func() { handle = l.connect(int32(len(args)), unsafe.SliceData(argv)) })
	runtime.KeepAlive(argv)
	if handle == 0 {
		return nil, errors.New("the ClickHouse engine refused to open its data folder: look for a full disk, missing write permission, or another process in the folder")
	}
	return &conn{lib: l, handle: handle, inner: deref(handle), settings: map[string]string{}}, nil
}

func (c *conn) close() {
	c.lib.closeConn(c.handle)
	c.handle, c.inner = 0, 0
}

// query runs one statement and returns a copy of what it produced.
func (c *conn) query(sql, format string, p params) (result, error) {
	names := newStrings(p.names)
	values := newStrings(p.values)
	defer names.release()
	defer values.release()
	handle := c.lib.queryParams(c.inner,
		unsafe.StringData(sql), uintptr(len(sql)), unsafe.StringData(format), uintptr(len(format)),
		names.data(), names.lens(), values.data(), values.lens(), uintptr(len(p.names)))
	runtime.KeepAlive(sql)
	runtime.KeepAlive(format)
	return c.lib.take(handle)
}

// stream runs one statement and gives what it produces block by block, as it is
// read. It ends with the statement, or with what each returns.
func (c *conn) stream(sql, format string, p params, each func(data []byte) error) error {
	names := newStrings(p.names)
	values := newStrings(p.values)
	defer names.release()
	defer values.release()
	handle := c.lib.queryStream(c.inner,
		unsafe.StringData(sql), uintptr(len(sql)), unsafe.StringData(format), uintptr(len(format)),
		names.data(), names.lens(), values.data(), values.lens(), uintptr(len(p.names)))
	runtime.KeepAlive(sql)
	runtime.KeepAlive(format)
	if handle == 0 {
		return errors.New("the ClickHouse engine gave no result")
	}
	defer c.lib.resultDestroy(handle)
	if text := goString(c.lib.resultError(handle)); text != "" {
		return newEngineError(text)
	}
	for {
		r, err := c.lib.take(c.lib.queryFetch(c.inner, handle))
		if err != nil || len(r.data) == 0 {
			return err
		}
		if err := each(r.data); err != nil {
			c.lib.queryCancel(c.inner, handle)
			return err
		}
	}
}

// insert runs "INSERT INTO t (…)" with data in the given format.
func (c *conn) insert(sql, format string, p params, data []byte) (result, error) {
	names := newStrings(p.names)
	values := newStrings(p.values)
	defer names.release()
	defer values.release()
	stream := c.lib.streamInsertParams(c.inner,
		unsafe.StringData(sql), uintptr(len(sql)), unsafe.StringData(format), uintptr(len(format)),
		names.data(), names.lens(), values.data(), values.lens(), uintptr(len(p.names)))
	runtime.KeepAlive(sql)
	runtime.KeepAlive(format)
	if stream == 0 {
		return result{}, errors.New("the ClickHouse engine opened no insert stream")
	}
	defer c.lib.streamDestroy(stream)
	if text := goString(c.lib.streamError(stream)); text != "" {
		return result{}, newEngineError(text)
	}
	for rest := data; len(rest) > 0; {
		chunk := rest[:min(len(rest), appendBytesMax)]
		rest = rest[len(chunk):]
		state := c.lib.streamAppend(stream, unsafe.SliceData(chunk), uintptr(len(chunk)))
		runtime.KeepAlive(data)
		if state != 0 {
			text := goString(c.lib.streamError(stream))
			c.lib.streamCancel(stream)
			return result{}, newEngineError(text)
		}
	}
	return c.lib.take(c.lib.streamDone(stream))
}

// appendBytesMax is how much of an insert's body goes to the engine in one
// call, which copies it: 8 MiB bounds that second copy.
const appendBytesMax = 8 << 20

// take copies a result out of the engine and frees it.
func (l *library) take(handle uintptr) (result, error) {
	if handle == 0 {
		return result{}, errors.New("the ClickHouse engine gave no result")
	}
	defer l.resultDestroy(handle)
	if text := goString(l.resultError(handle)); text != "" {
		return result{}, newEngineError(text)
	}
	r := result{rowsRead: l.resultRowsRead(handle), rowsWritten: l.resultRowsWritten(handle)}
	if n := l.resultLength(handle); n > 0 {
		r.data = append([]byte(nil), unsafe.Slice((*byte)(pointer(l.resultBuffer(handle))), n)...)
	}
	return r, nil
}

// cStrings is an array of strings with their lengths, as the engine takes it.
type cStrings struct {
	ptrs    []*byte
	lengths []uintptr
	pinner  runtime.Pinner
}

func newStrings(values []string) *cStrings {
	s := &cStrings{ptrs: make([]*byte, len(values)), lengths: make([]uintptr, len(values))}
	for i, value := range values {
		bytes := append([]byte(value), 0)
		s.ptrs[i] = unsafe.SliceData(bytes)
		s.pinner.Pin(s.ptrs[i])
		s.lengths[i] = uintptr(len(value))
	}
	return s
}

func (s *cStrings) data() **byte   { return unsafe.SliceData(s.ptrs) }
func (s *cStrings) lens() *uintptr { return unsafe.SliceData(s.lengths) }
func (s *cStrings) release() {
	s.pinner.Unpin()
	runtime.KeepAlive(s)
}

// pointer turns an address that the engine returned into a pointer. It is
// memory of the engine's, which the collector neither moves nor frees.
func pointer(address uintptr) unsafe.Pointer {
	return *(*unsafe.Pointer)(unsafe.Pointer(&address))
}

func deref(address uintptr) uintptr {
	return *(*uintptr)(pointer(address))
}

// goString copies a NUL-terminated string of the engine's; "" for none.
func goString(address uintptr) string {
	if address == 0 {
		return ""
	}
	start := pointer(address)
	n := 0
	for *(*byte)(unsafe.Add(start, n)) != 0 {
		n++
	}
	return string(unsafe.Slice((*byte)(start), n))
}
