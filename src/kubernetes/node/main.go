// podcov-node makes a machine of its own for one Kubernetes node and keeps its
// processes running.
//
// Everything lives in new PID, mount, network, UTS and IPC namespaces, and this
// program is process 1 in them. So one SIGKILL ends the node: the kernel then
// kills every process of the PID namespace, containers included, and mounts,
// links and firewall rules go with the last one. Only cgroups and the state
// folder have to be removed by name.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

// initName is what process 1 of a node is called; `cluster down` looks for it,
// followed by the state folder.
const initName = "podcov-node"

// machine is what node.json in the state folder says.
type machine struct {
	// Hostname inside, and the name of the node.
	Hostname string `json:"hostname"`
	// HostLink is the host's end of the veth pair.
	HostLink string `json:"host_link"`
	// HostAddress and NodeAddress are the two ends, with prefix length.
	HostAddress string `json:"host_address"`
	NodeAddress string `json:"node_address"`
	// Keep are folders that must be the host's own inside, even below one
	// of those that are hidden.
	Keep []string `json:"keep"`
	// Processes in any order; `after` sorts them.
	Processes []process `json:"processes"`
}

// init keeps main on the first thread: the death signal belongs to the thread
// that was started, not to the process.
func init() {
	runtime.LockOSThread()
}

func load(state string) (*machine, error) {
	text, err := os.ReadFile(filepath.Join(state, "node.json"))
	if err != nil {
		return nil, err
	}
	described := new(machine)
	if err := json.Unmarshal(text, described); err != nil {
		return nil, fmt.Errorf("node.json: %w", err)
	}
	return described, nil
}

func main() {
	var err error
	switch {
	case os.Args[0] == initName && len(os.Args) == 2:
		err = inside(os.Args[1])
	case len(os.Args) == 3 && os.Args[1] == "start":
		err = start(os.Args[2])
	default:
		err = fmt.Errorf("expected `start FOLDER`, found %q", os.Args[1:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "podcov-node:", err)
		os.Exit(1)
	}
}
