package main

import (
	"bytes"
	"context"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
)

// logged gives the log of a container that wrote these chunks to stdout and ended.
func logged(t *testing.T, chunks ...string) *logFile {
	t.Helper()
	c := &container{attached: map[*attachment]struct{}{}, log: newLogFile(filepath.Join(t.TempDir(), "log"))}
	out := &output{c, "stdout", nil}
	for _, one := range chunks {
		if _, err := out.Write([]byte(one)); err != nil {
			t.Fatal(err)
		}
	}
	out.flush()
	return c.log
}

func TestLogsGiveBackTheBytesThatWereWritten(t *testing.T) {
	long := strings.Repeat("x", 3*maxLine+7)
	for _, chunks := range [][]string{nil, {"a\n"}, {"a\nb"}, {"\n\n"}, {"a", "b\nc", "\n"}, {long + "\nafter\n"}, {long}} {
		var got bytes.Buffer
		if err := logged(t, chunks...).copyTo(context.Background(), &got, func() {}, logQuery{tail: -1, limit: -1}, nil); err != nil {
			t.Fatal(err)
		}
		if want := strings.Join(chunks, ""); got.String() != want {
			t.Errorf("wrote %.40q, read %.40q", want, got.String())
		}
	}
}

func TestLogQueriesSelectWhatTheyName(t *testing.T) {
	log := logged(t, "one\ntwo\nthree\n")
	for query, want := range map[string]string{
		"tailLines=0": "", "tailLines=1": "three\n", "tailLines=9": "one\ntwo\nthree\n", "limitBytes=5": "one\nt",
		"tailLines=2&limitBytes=2": "tw", "stream=Stderr": "", "stream=All": "one\ntwo\nthree\n", "sinceTime=2999-01-01T00:00:00Z": "",
	} {
		values, _ := url.ParseQuery(query)
		parsed, err := parseLogQuery(values)
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if err := log.copyTo(context.Background(), &got, func() {}, parsed, nil); err != nil || got.String() != want {
			t.Errorf("%s: %q, %v; want %q", query, got.String(), err, want)
		}
	}
}

func TestAWrongLogQueryIsRefused(t *testing.T) {
	for _, query := range []string{"tailLines=-1", "limitBytes=x", "sinceTime=yesterday"} {
		values, _ := url.ParseQuery(query)
		if _, err := parseLogQuery(values); err == nil {
			t.Errorf("%s was accepted", query)
		}
	}
}

func TestAFollowerSeesWhatComesLaterAndEndsWithTheContainer(t *testing.T) {
	log, done := logged(t, "first\n"), make(chan struct{})
	lines := make(chan string, 10)
	ended := make(chan error)
	go func() {
		ended <- log.copyTo(context.Background(), writerFunc(func(p []byte) { lines <- string(p) }), func() {}, logQuery{follow: true, tail: -1, limit: -1}, done)
	}()
	if got := <-lines; got != "first\n" {
		t.Fatalf("%q", got)
	}
	if err := log.append("stdout", true, []byte("second")); err != nil {
		t.Fatal(err)
	}
	if got := <-lines; got != "second\n" {
		t.Fatalf("%q", got)
	}
	close(done)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) { f(p); return len(p), nil }
