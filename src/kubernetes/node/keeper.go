package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// process is one program of the node.
type process struct {
	Name string `json:"name"`
	// Args with the path of the program first.
	Args []string `json:"args"`
	Env  []string `json:"env"`
	// After are processes that have to be ready before this one starts.
	After []string `json:"after"`
	// Ready tells when it is; nil: as soon as it runs, or once it ended if
	// it runs once.
	Ready *probe `json:"ready"`
	// Once: it ends by itself, and is tried again until it ends with 0.
	Once bool `json:"once"`
}

// state of a process, as status.json tells it.
type state struct {
	Name string `json:"name"`
	// State is one of waiting, running, ready, failed.
	State    string `json:"state"`
	Restarts int    `json:"restarts"`
	// Detail is what the last failure was.
	Detail string `json:"detail,omitempty"`
}

const (
	firstPause = 200 * time.Millisecond
	lastPause  = 5 * time.Second
	// A process that ran this long starts again without a pause.
	settled = 30 * time.Second
)

// keeper starts the processes in their order, starts those that end again, and
// reaps everything that is left to process 1.
type keeper struct {
	folder    string
	processes []process

	// starting is held from before a process starts until its number is in
	// waits, so that it cannot be reaped unknown.
	starting sync.Mutex
	waits    map[int]chan syscall.WaitStatus

	telling sync.Mutex
	states  []state
	ready   map[string]chan struct{}
}

func newKeeper(folder string, processes []process) *keeper {
	k := &keeper{
		folder:    folder,
		processes: processes,
		waits:     make(map[int]chan syscall.WaitStatus),
		ready:     make(map[string]chan struct{}),
	}
	for _, p := range processes {
		k.ready[p.Name] = make(chan struct{})
		k.states = append(k.states, state{Name: p.Name, State: "waiting"})
	}
	return k
}

func (k *keeper) run() {
	k.tell(0, func(*state) {})
	for index := range k.processes {
		go k.keep(index)
	}
}

// tell changes the state of one process and writes status.json.
func (k *keeper) tell(index int, change func(*state)) {
	k.telling.Lock()
	defer k.telling.Unlock()
	change(&k.states[index])
	text, err := json.Marshal(map[string]any{"processes": k.states})
	target := filepath.Join(k.folder, "status.json")
	if err == nil {
		err = os.WriteFile(target+".new", text, 0o600)
	}
	if err == nil {
		err = os.Rename(target+".new", target)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "podcov-node: status:", err)
	}
}

func (k *keeper) keep(index int) {
	p := k.processes[index]
	for _, name := range p.After {
		before, known := k.ready[name]
		if !known {
			k.tell(index, func(s *state) { s.State, s.Detail = "failed", "no process is called "+name })
			return
		}
		<-before
	}
	pause := firstPause
	for {
		begin := time.Now()
		ended, err := k.start(p)
		if err != nil {
			k.tell(index, func(s *state) { s.State, s.Detail = "failed", err.Error() })
		} else {
			stop := make(chan struct{})
			k.tell(index, func(s *state) { s.State = "running" })
			if !p.Once {
				go k.watch(index, stop)
			}
			status := <-ended
			close(stop)
			if p.Once && status.ExitStatus() == 0 && status.Exited() {
				k.markReady(index)
				return
			}
			k.tell(index, func(s *state) {
				s.State, s.Detail = "failed", describe(status)
				s.Restarts++
			})
			fmt.Fprintf(os.Stderr, "podcov-node: %s %s\n", p.Name, describe(status))
		}
		if time.Since(begin) > settled {
			pause = firstPause
		}
		time.Sleep(pause)
		pause = min(2*pause, lastPause)
	}
}

// watch marks the process as ready when its probe says so, unless it ends.
func (k *keeper) watch(index int, stop <-chan struct{}) {
	probe := k.processes[index].Ready
	for probe != nil && !probe.holds() {
		select {
		case <-stop:
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
	select {
	case <-stop:
	default:
		k.markReady(index)
	}
}

func (k *keeper) markReady(index int) {
	k.tell(index, func(s *state) { s.State = "ready" })
	reached := k.ready[k.processes[index].Name]
	select {
	case <-reached:
	default:
		close(reached)
	}
}

// start runs the process; its end comes on the channel.
func (k *keeper) start(p process) (<-chan syscall.WaitStatus, error) {
	log, err := os.OpenFile(filepath.Join(k.folder, "log", p.Name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	k.starting.Lock()
	defer k.starting.Unlock()
	started, err := os.StartProcess(p.Args[0], p.Args, &os.ProcAttr{
		Dir:   k.folder,
		Env:   p.Env,
		Files: []*os.File{nil, log, log},
		Sys:   &syscall.SysProcAttr{Setpgid: true},
	})
	if err != nil {
		return nil, err
	}
	ended := make(chan syscall.WaitStatus, 1)
	k.waits[started.Pid] = ended
	return ended, started.Release()
}

// reap waits for every process of the node there is.
func (k *keeper) reap() {
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	for range children {
		k.starting.Lock()
		for {
			var status syscall.WaitStatus
			pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
			if err == syscall.EINTR {
				continue
			}
			if err != nil || pid <= 0 {
				break
			}
			if ended, known := k.waits[pid]; known {
				ended <- status
				delete(k.waits, pid)
			}
		}
		k.starting.Unlock()
	}
}

func describe(status syscall.WaitStatus) string {
	if status.Signaled() {
		return fmt.Sprintf("was ended by signal %d", status.Signal())
	}
	return fmt.Sprintf("exited with %d", status.ExitStatus())
}
