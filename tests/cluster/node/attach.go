package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/creack/pty"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
)

// attachment is one client that sees a running container's output; one that stops reading stops the container, as at a real node.
type attachment struct {
	chunks chan chunk
	left   chan struct{}
}

type chunk struct {
	stream string
	bytes  []byte
}

func (c *container) broadcast(stream string, bytes []byte) {
	c.mu.Lock()
	var all []*attachment
	for one := range c.attached {
		all = append(all, one)
	}
	c.mu.Unlock()
	for _, one := range all {
		select {
		case one.chunks <- chunk{stream, append([]byte(nil), bytes...)}:
		case <-one.left:
		}
	}
}

// AttachContainer connects a client with a container's main process until either ends.
func (s session) AttachContainer(ctx context.Context, _, _, _ string, in io.Reader, out, err io.WriteCloser, _ bool, resize <-chan remotecommand.TerminalSize) error {
	c := s.container
	here := &attachment{chunks: make(chan chunk, 64), left: make(chan struct{})}
	c.mu.Lock()
	running, stdin, terminal, gone := c.process != nil, c.stdin, c.terminal, c.gone
	if running {
		c.attached[here] = struct{}{}
	}
	c.mu.Unlock()
	if !running {
		return fmt.Errorf("container %s is not running", c.spec.Name)
	}
	defer func() {
		c.mu.Lock()
		delete(c.attached, here)
		c.mu.Unlock()
		close(here.left)
	}()
	if terminal != nil {
		go func() {
			for size := range resize {
				_ = pty.Setsize(terminal, &pty.Winsize{Rows: size.Height, Cols: size.Width})
			}
		}()
	}
	if in != nil && stdin != nil {
		go func() {
			_, _ = io.Copy(stdin, in)
			if c.spec.StdinOnce {
				_ = stdin.Close()
			}
		}()
	}
	for {
		select {
		case one := <-here.chunks:
			if err := one.write(out, err); err != nil {
				return err
			}
		case <-gone:
			return here.drain(out, err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// drain writes what the process said last.
func (a *attachment) drain(out, err io.Writer) error {
	for {
		select {
		case one := <-a.chunks:
			if err := one.write(out, err); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

func (one chunk) write(out, err io.Writer) error {
	to := out
	if one.stream == "stderr" {
		to = err
	}
	if to == nil {
		return nil
	}
	_, failure := to.Write(one.bytes)
	return failure
}

// ioGrace is how long the output of an ended process may take to arrive when something else still holds its pipes.
const ioGrace = 2 * time.Second
