package main

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// reaper kills what the node's processes have started when the node itself was killed: a second process of this program, which
// knows the process groups and sees the node's end as the end of its input.
var reaper groups

type groups struct {
	mu     sync.Mutex
	pipe   io.WriteCloser
	second *exec.Cmd
}

func (g *groups) start(self string) error {
	command := exec.Command(self, "reap")
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	command.Stderr = os.Stderr
	pipe, err := command.StdinPipe()
	if err != nil {
		return err
	}
	g.pipe, g.second = pipe, command
	return command.Start()
}

// stop is for an orderly end: the second process does what is left to do, and goes.
func (g *groups) stop() {
	_ = g.pipe.Close()
	_ = g.second.Wait()
}

func (g *groups) watch(group int)  { g.tell("+", group) }
func (g *groups) forget(group int) { g.tell("-", group) }

func (g *groups) tell(sign string, group int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.pipe == nil {
		return // in unit tests
	}
	if _, err := fmt.Fprintf(g.pipe, "%s%d\n", sign, group); err != nil {
		log.Printf("the reaper is gone: %v", err)
	}
}

// reap is the second process: it reads groups until the node is gone, and then ends those that are left.
func reap(input io.Reader) {
	left := map[int]struct{}{}
	lines := bufio.NewScanner(input)
	for lines.Scan() {
		sign, number := lines.Text()[:1], strings.TrimSpace(lines.Text()[1:])
		group, err := strconv.Atoi(number)
		if err != nil || group < 2 {
			continue
		}
		if sign == "+" {
			left[group] = struct{}{}
		} else {
			delete(left, group)
		}
	}
	for group := range left {
		_ = syscall.Kill(-group, syscall.SIGKILL)
	}
}
