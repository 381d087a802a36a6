package main

import (
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/creack/pty"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// container is one container of a pod: a process group, its log, and whoever is attached to it.
type container struct {
	pod    *pod
	spec   *core.Container
	policy core.RestartPolicy
	log    *logFile

	mu       sync.Mutex
	process  *os.Process // nil when it does not run
	terminal *os.File    // the master side, for a container with a terminal
	stdin    io.WriteCloser
	begun    meta.Time
	ended    *core.ContainerStateTerminated
	restarts int32
	halted   bool // no more restarts
	attached map[*attachment]struct{}
	gone     chan struct{} // closed when the present process has ended
	done     chan struct{} // closed when no process follows
}

func newContainer(it *pod, spec *core.Container, policy core.RestartPolicy) *container {
	return &container{
		pod: it, spec: spec, policy: policy,
		log:      newLogFile(filepath.Join(it.dir, spec.Name+".log")),
		attached: map[*attachment]struct{}{},
		gone:     make(chan struct{}),
		done:     make(chan struct{}),
	}
}

// command prepares a process of this container: in the pod's directory, in a process group of its own, dead when the node is.
func (c *container) command(argv []string, tty bool) *exec.Cmd {
	command := exec.Command(argv[0], argv[1:]...)
	command.Dir = filepath.Join(c.pod.dir, "root")
	command.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + command.Dir, "PWD=" + command.Dir, "HOSTNAME=" + c.pod.name,
		"POD_NAME=" + c.pod.name, "POD_NAMESPACE=" + c.pod.namespace, "POD_IP=" + c.pod.ip,
	}
	if tty {
		command.Env = append(command.Env, "TERM=xterm")
	}
	for _, variable := range c.spec.Env {
		if variable.ValueFrom == nil {
			command.Env = append(command.Env, variable.Name+"="+variable.Value)
		}
	}
	// A terminal needs a session of its own, which is a group as well.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: !tty, Setsid: tty, Setctty: tty, Pdeathsig: syscall.SIGKILL}
	return command
}

// run keeps the container's process running as the restart policy asks, and calls changed after every change.
func (c *container) run(changed func()) {
	defer changed()
	defer close(c.done)
	for {
		code, err := c.once(changed)
		if err != nil {
			log.Printf("container %s of pod %s/%s: %v", c.spec.Name, c.pod.namespace, c.pod.name, err)
		}
		again := c.policy == core.RestartPolicyAlways || c.policy == core.RestartPolicyOnFailure && code != 0
		c.mu.Lock()
		again = again && !c.halted
		if again {
			c.restarts++
		}
		c.mu.Unlock()
		if !again {
			return
		}
		changed()
		time.Sleep(time.Second) // a real node backs off from 10 s on; tests have less patience
	}
}

// once runs the process to its end.
func (c *container) once(changed func()) (int, error) {
	argv := append(append([]string{}, c.spec.Command...), c.spec.Args...)
	if len(argv) == 0 {
		argv = []string{"sleep", "infinity"} // what the image would have said is not known here
	}
	command := c.command(argv, c.spec.TTY)
	stdout, stderr := &output{c, "stdout", nil}, &output{c, "stderr", nil}
	copied, err := c.begin(command, stdout, stderr)
	if err != nil {
		c.finish(128, err.Error())
		return 128, err
	}
	group := command.Process.Pid
	reaper.watch(group)
	changed()
	<-copied
	err = command.Wait()
	stdout.flush()
	stderr.flush()
	code := exitCode(command.ProcessState, err)
	// What the main process leaves behind dies with it, as in a container.
	_ = syscall.Kill(-group, syscall.SIGKILL)
	reaper.forget(group)
	c.finish(code, "")
	return code, nil
}

// begin starts the process with a terminal or with pipes; the channel closes when its output has been read to the end.
func (c *container) begin(command *exec.Cmd, stdout, stderr io.Writer) (<-chan struct{}, error) {
	copied := make(chan struct{})
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.halted {
		return nil, fmt.Errorf("the pod is being deleted")
	}
	if c.spec.TTY {
		master, err := pty.Start(command)
		if err != nil {
			return nil, err
		}
		c.terminal, c.stdin = master, master
		go func() { _, _ = io.Copy(stdout, master); close(copied) }()
	} else {
		if c.spec.Stdin {
			pipe, err := command.StdinPipe()
			if err != nil {
				return nil, err
			}
			c.stdin = pipe
		}
		command.Stdout, command.Stderr = stdout, stderr
		command.WaitDelay = time.Second
		if err := command.Start(); err != nil {
			return nil, err
		}
		close(copied) // exec's own Wait waits for the pipes
	}
	c.process, c.begun, c.ended = command.Process, meta.Now(), nil
	return copied, nil
}

func (c *container) finish(code int, message string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	reason := "Completed"
	if code != 0 {
		reason = "Error"
	}
	c.ended = &core.ContainerStateTerminated{
		ExitCode: int32(code), Reason: reason, Message: message, StartedAt: c.begun, FinishedAt: meta.Now(), ContainerID: c.id(),
	}
	if c.terminal != nil {
		c.terminal.Close()
	}
	c.process, c.terminal, c.stdin = nil, nil, nil
	close(c.gone)
	c.gone = make(chan struct{})
}

// stop asks the process to end, and makes it end after grace; it returns when nothing runs any more.
func (c *container) stop(grace time.Duration) {
	c.mu.Lock()
	c.halted = true
	c.mu.Unlock()
	if grace > 0 {
		c.signal(syscall.SIGTERM)
		select {
		case <-c.done:
			return
		case <-time.After(grace):
		}
	}
	c.signal(syscall.SIGKILL)
	select {
	case <-c.done:
	case <-time.After(5 * time.Second):
	}
}

func (c *container) signal(signal syscall.Signal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.process != nil {
		_ = syscall.Kill(-c.process.Pid, signal)
	}
}

// finished says whether nothing runs and nothing will.
func (c *container) finished() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

func (c *container) id() string { return "process://" + string(c.pod.uid) + "-" + c.spec.Name }

func (c *container) status() core.ContainerStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	running := c.process != nil
	status := core.ContainerStatus{
		Name: c.spec.Name, Image: c.spec.Image, ImageID: c.spec.Image, ContainerID: c.id(), Ready: running, Started: &running, RestartCount: c.restarts,
	}
	switch {
	case running:
		status.State.Running = &core.ContainerStateRunning{StartedAt: c.begun}
	case c.ended != nil:
		status.State.Terminated = c.ended
	default:
		status.State.Waiting = &core.ContainerStateWaiting{Reason: "ContainerCreating"}
	}
	return status
}

// exitCode is the code as a shell counts it: 128 + signal for a killed process.
func exitCode(state *os.ProcessState, err error) int {
	if state == nil {
		log.Printf("waiting for a process: %v", err)
		return 128
	}
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return state.ExitCode()
}
