package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"
	"sync"
	"time"
)

// maxLine is where a container runtime cuts a line into parts; the log's tag says so.
const maxLine = 16 << 10

// logFile is a container's log in the format of container runtimes: `<time> <stream> <F|P> <text>`, one entry a line.
type logFile struct {
	path string

	mu      sync.Mutex
	file    *os.File
	size    int64
	changed chan struct{} // closed at the next entry
}

func newLogFile(path string) *logFile { return &logFile{path: path, changed: make(chan struct{})} }

func (l *logFile) append(stream string, full bool, text []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		file, err := os.OpenFile(l.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
		if err != nil {
			return err
		}
		l.file = file
	}
	tag := "P"
	if full {
		tag = "F"
	}
	n, err := fmt.Fprintf(l.file, "%s %s %s %s\n", time.Now().UTC().Format(time.RFC3339Nano), stream, tag, text)
	l.size += int64(n)
	close(l.changed)
	l.changed = make(chan struct{})
	return err
}

// now gives the log's length, and a channel that closes when it is outdated.
func (l *logFile) now() (int64, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.size, l.changed
}

// output is one output stream of a container's process: it goes to the log by lines, and to whoever is attached as it comes.
type output struct {
	of     *container
	stream string
	rest   []byte
}

func (o *output) Write(bytesOf []byte) (int, error) {
	o.of.broadcast(o.stream, bytesOf)
	o.rest = append(o.rest, bytesOf...)
	for {
		end := bytes.IndexByte(o.rest, '\n')
		var err error
		switch {
		case end >= 0 && end <= maxLine:
			err = o.of.log.append(o.stream, true, o.rest[:end])
			o.rest = o.rest[end+1:]
		case len(o.rest) >= maxLine:
			err = o.of.log.append(o.stream, false, o.rest[:maxLine])
			o.rest = o.rest[maxLine:]
		default:
			return len(bytesOf), nil
		}
		if err != nil {
			return 0, err
		}
	}
}

// flush logs what the process wrote after its last newline.
func (o *output) flush() {
	if len(o.rest) > 0 {
		_ = o.of.log.append(o.stream, false, o.rest)
		o.rest = nil
	}
}

// logQuery is what `kubectl logs` may ask for.
type logQuery struct {
	follow, timestamps bool
	tail, limit        int64 // -1: none
	since              time.Time
	stream             string
}

func parseLogQuery(values url.Values) (logQuery, error) {
	q := logQuery{follow: values.Get("follow") == "true", timestamps: values.Get("timestamps") == "true", tail: -1, limit: -1, stream: values.Get("stream")}
	var seconds int64
	for name, into := range map[string]*int64{"tailLines": &q.tail, "limitBytes": &q.limit, "sinceSeconds": &seconds} {
		if text := values.Get(name); text != "" {
			number, err := strconv.ParseInt(text, 10, 64)
			if err != nil || number < 0 {
				return q, fmt.Errorf("%s %q is no positive number", name, text)
			}
			*into = number
		}
	}
	if seconds > 0 {
		q.since = time.Now().Add(-time.Duration(seconds) * time.Second)
	}
	if text := values.Get("sinceTime"); text != "" {
		since, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return q, fmt.Errorf("sinceTime: %w", err)
		}
		q.since = since
	}
	return q, nil
}

// errLimit ends a log that has reached its limitBytes.
var errLimit = errors.New("limit reached")

// copyTo writes what the query asks for, and flushes after each burst; it ends with the log, or when ctx or the container ends.
func (l *logFile) copyTo(ctx context.Context, w io.Writer, flush func(), q logQuery, done <-chan struct{}) error {
	file, err := os.Open(l.path)
	if errors.Is(err, os.ErrNotExist) {
		if err := l.append("stdout", false, nil); err != nil { // nothing was written yet: make the file
			return err
		}
		file, err = os.Open(l.path)
	}
	if err != nil {
		return err
	}
	defer file.Close()
	size, _ := l.now()
	at, err := tailStart(file, size, q.tail)
	if err != nil {
		return err
	}
	entries := entryWriter{w: w, q: q}
	for {
		// In this order, so that what the process wrote last is not missed.
		ending := isClosed(done)
		size, changed := l.now()
		if err := entries.copy(io.NewSectionReader(file, at, size-at)); err != nil {
			if errors.Is(err, errLimit) {
				return nil
			}
			return err
		}
		at = size
		flush()
		if !q.follow || ending {
			return nil
		}
		select {
		case <-changed:
		case <-done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// tailStart is where the last n entries begin.
func tailStart(file *os.File, size, n int64) (int64, error) {
	if n < 0 {
		return 0, nil
	}
	block := make([]byte, 64<<10)
	for end := size; end > 0; {
		begin := max(0, end-int64(len(block)))
		part := block[:end-begin]
		if _, err := file.ReadAt(part, begin); err != nil {
			return 0, err
		}
		for i := len(part) - 1; i >= 0; i-- {
			if part[i] != '\n' {
				continue
			}
			if n == 0 {
				return begin + int64(i) + 1, nil
			}
			n--
		}
		end = begin
	}
	return 0, nil
}

// entryWriter turns log entries back into the container's output.
type entryWriter struct {
	w       io.Writer
	q       logQuery
	inLine  bool
	written int64
}

func (e *entryWriter) copy(entries io.Reader) error {
	lines := bufio.NewReaderSize(entries, 64<<10)
	buffered := bufio.NewWriterSize(e.w, 32<<10)
	for {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF {
			return buffered.Flush()
		}
		if err == nil {
			err = e.entry(buffered, line)
		}
		if err != nil {
			return errors.Join(err, buffered.Flush())
		}
	}
}

func (e *entryWriter) entry(w io.Writer, line []byte) error {
	parts := bytes.SplitN(bytes.TrimSuffix(line, []byte("\n")), []byte(" "), 4)
	if len(parts) != 4 {
		return fmt.Errorf("unreadable log entry %q", line)
	}
	if wanted := e.q.stream; wanted == "Stdout" && string(parts[1]) != "stdout" || wanted == "Stderr" && string(parts[1]) != "stderr" {
		return nil
	}
	if !e.q.since.IsZero() {
		if at, err := time.Parse(time.RFC3339Nano, string(parts[0])); err == nil && at.Before(e.q.since) {
			return nil
		}
	}
	var text []byte
	if e.q.timestamps && !e.inLine && (len(parts[3]) > 0 || parts[2][0] == 'F') {
		text = append(append(text, parts[0]...), ' ')
	}
	text = append(text, parts[3]...)
	if e.inLine = parts[2][0] == 'P' && len(parts[3]) > 0; parts[2][0] == 'F' {
		text = append(text, '\n')
	}
	over := e.q.limit >= 0 && e.written+int64(len(text)) > e.q.limit
	if over {
		text = text[:e.q.limit-e.written]
	}
	e.written += int64(len(text))
	if _, err := w.Write(text); err != nil {
		return err
	}
	if over {
		return errLimit
	}
	return nil
}

func isClosed(channel <-chan struct{}) bool {
	select {
	case <-channel:
		return true
	default:
		return false
	}
}
