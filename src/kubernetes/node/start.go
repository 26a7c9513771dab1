package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/vishvananda/netlink"
)

// insideLink is what the node's end of the veth pair is called.
const insideLink = "eth0"

// start makes the namespaces and the link into them, and returns when process 1
// in them has taken over. It runs on the host.
func start(state string) error {
	described, err := load(state)
	if err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(state, "log", "node.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	goRead, goWrite, err := os.Pipe()
	if err != nil {
		return err
	}
	doneRead, doneWrite, err := os.Pipe()
	if err != nil {
		return err
	}
	child, err := os.StartProcess("/proc/self/exe", []string{initName, state}, &os.ProcAttr{
		Dir:   "/",
		Env:   os.Environ(),
		Files: []*os.File{nil, log, log, goRead, doneWrite},
		Sys: &syscall.SysProcAttr{
			Setsid:    true,
			Pdeathsig: syscall.SIGKILL,
			Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET |
				syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
		},
	})
	if err != nil {
		return fmt.Errorf("cannot make namespaces (this needs root, or CAP_SYS_ADMIN): %w", err)
	}
	goRead.Close()
	doneWrite.Close()
	if err := connect(described, child.Pid); err != nil {
		return errors.Join(err, child.Kill())
	}
	goWrite.Close()
	// Process 1 says "ok" when the start can no longer fail, or what is wrong.
	answer, err := io.ReadAll(doneRead)
	if err == nil && string(answer) != "ok" {
		err = fmt.Errorf("%s", answer)
		if len(answer) == 0 {
			err = fmt.Errorf("process 1 of the node ended early; see %s", log.Name())
		}
	}
	if err != nil {
		child.Kill()
	}
	return err
}

// connect makes the veth pair, its far end in the namespace of process pid.
func connect(described *machine, pid int) error {
	pair := &netlink.Veth{
		LinkAttrs:     netlink.LinkAttrs{Name: described.HostLink},
		PeerName:      insideLink,
		PeerNamespace: netlink.NsPid(pid),
	}
	if err := netlink.LinkAdd(pair); err != nil {
		return fmt.Errorf("cannot add the link %s: %w", described.HostLink, err)
	}
	return address(described.HostLink, described.HostAddress)
}

// address gives the link its address and brings it up.
func address(name, cidr string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	wanted, err := netlink.ParseAddr(cidr)
	if err != nil {
		return err
	}
	if err := netlink.AddrAdd(link, wanted); err != nil {
		return fmt.Errorf("cannot give %s the address %s: %w", name, cidr, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("cannot bring up %s: %w", name, err)
	}
	return nil
}
