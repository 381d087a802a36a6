package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"github.com/creack/pty"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"
)

// session is one exec or attach request at one container.
type session struct {
	container *container
	options   *remotecommand.Options
}

// ExecInContainer runs argv beside the container's process. An exit code that is not 0 comes back as utilexec.CodeExitError, which
// the library carries to the client unchanged. When the client goes away its process is killed (a real node leaves it running;
// here nothing may stay behind, and its end shows that a cancel arrived).
func (s session) ExecInContainer(ctx context.Context, _, _, _ string, argv []string, in io.Reader, out, err io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize, _ time.Duration) error {
	command := s.container.command(argv, tty)
	if !s.options.Stdin {
		in = nil // over WebSocket the channel exists all the same, and never ends
	}
	wait := startPiped
	if tty {
		wait = startTerminal
	}
	finish, failure := wait(command, in, out, err, resize)
	if failure != nil {
		return failure
	}
	group := command.Process.Pid
	reaper.watch(group)
	ended := make(chan struct{})
	go func() {
		select {
		case <-ctx.Done():
			_ = syscall.Kill(-group, syscall.SIGKILL)
		case <-ended:
		}
	}()
	failure = finish()
	close(ended)
	_ = syscall.Kill(-group, syscall.SIGKILL)
	reaper.forget(group)
	if code := exitCode(command.ProcessState, failure); code != 0 {
		return utilexec.CodeExitError{Err: fmt.Errorf("command terminated with exit code %d", code), Code: code}
	}
	return nil
}

func startPiped(command *exec.Cmd, in io.Reader, out, err io.WriteCloser, _ <-chan remotecommand.TerminalSize) (func() error, error) {
	// Not command.Stdin: Wait would then wait for the client's input to end.
	if in != nil {
		pipe, failure := command.StdinPipe()
		if failure != nil {
			return nil, failure
		}
		go func() {
			_, _ = io.Copy(pipe, in)
			_ = pipe.Close()
		}()
	}
	if out != nil {
		command.Stdout = out
	}
	if err != nil {
		command.Stderr = err
	}
	command.WaitDelay = ioGrace
	return command.Wait, command.Start()
}

func startTerminal(command *exec.Cmd, in io.Reader, out, _ io.WriteCloser, resize <-chan remotecommand.TerminalSize) (func() error, error) {
	// The first size is sent at once by every client: begin with it, so that the program never sees another.
	var first *pty.Winsize
	select {
	case size, ok := <-resize:
		if ok {
			first = &pty.Winsize{Rows: size.Height, Cols: size.Width}
		}
	case <-time.After(100 * time.Millisecond):
	}
	master, failure := pty.StartWithSize(command, first)
	if failure != nil {
		return nil, failure
	}
	go func() {
		for size := range resize {
			_ = pty.Setsize(master, &pty.Winsize{Rows: size.Height, Cols: size.Width})
		}
	}()
	if in != nil {
		go func() {
			// The end of input is the terminal's own end-of-file character, not a hang-up.
			_, _ = io.Copy(master, in)
			_, _ = master.Write([]byte{4})
		}()
	}
	copied := make(chan struct{})
	go func() {
		if out != nil {
			_, _ = io.Copy(out, master)
		}
		close(copied)
	}()
	return func() error { return waitTerminal(command, master, copied) }, nil
}

// waitTerminal lets the last output through before it closes the terminal.
func waitTerminal(command *exec.Cmd, master *os.File, copied <-chan struct{}) error {
	failure := command.Wait()
	select {
	case <-copied:
	case <-time.After(ioGrace):
	}
	_ = master.Close()
	return failure
}

// PortForward joins a stream with a port of the pod's address; each direction ends by itself.
func (it *pod) PortForward(ctx context.Context, _, _ string, port int32, stream io.ReadWriteCloser) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(it.ip, strconv.Itoa(int(port))))
	if err != nil {
		return fmt.Errorf("failed to connect to port %d of the pod: %w", port, err)
	}
	defer conn.Close()
	go func() {
		_, _ = io.Copy(conn, stream)
		_ = conn.(*net.TCPConn).CloseWrite()
	}()
	_, err = io.Copy(stream, conn)
	return err
}
