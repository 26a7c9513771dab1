package main

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// keep runs the processes in a folder until all are ready and gives the last
// report. One keeper for the whole test program: it reaps every child there is.
func keep(t *testing.T, folder string, processes []process) []state {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(folder, "log"), 0o755); err != nil {
		t.Fatal(err)
	}
	k := newKeeper(folder, processes)
	go k.reap()
	k.run()
	for _, p := range processes {
		select {
		case <-k.ready[p.Name]:
		case <-time.After(20 * time.Second):
			t.Fatalf("%s is not ready", p.Name)
		}
	}
	var report struct{ Processes []state }
	text, err := os.ReadFile(filepath.Join(folder, "status.json"))
	if err == nil {
		err = json.Unmarshal(text, &report)
	}
	if err != nil {
		t.Fatal(err)
	}
	return report.Processes
}

func shell(name, script string, after ...string) process {
	return process{Name: name, Args: []string{"/bin/sh", "-c", script}, After: after, Once: true}
}

func TestProcessesStartInOrderAndAreTriedAgain(t *testing.T) {
	folder := t.TempDir()
	socket := filepath.Join(folder, "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	server := process{
		Name:  "server",
		Args:  []string{"/bin/sleep", "60"},
		Ready: &probe{Unix: socket},
	}
	report := keep(t, folder, []process{
		shell("last", "echo last >>order", "second", "server"),
		// Fails the first time, and says why in its log.
		shell("second", "test -e tried || { touch tried; echo no >&2; exit 3; }; echo second >>order", "first"),
		shell("first", "echo first >>order"),
		server,
	})
	order, err := os.ReadFile(filepath.Join(folder, "order"))
	if err != nil || string(order) != "first\nsecond\nlast\n" {
		t.Fatalf("order %q, %v", order, err)
	}
	for _, s := range report {
		wanted := 0
		if s.Name == "second" {
			wanted = 1
		}
		if s.State != "ready" || s.Restarts != wanted {
			t.Errorf("%+v", s)
		}
	}
	log, _ := os.ReadFile(filepath.Join(folder, "log", "second.log"))
	if strings.TrimSpace(string(log)) != "no" {
		t.Errorf("log %q", log)
	}
}
