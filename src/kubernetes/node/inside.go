package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Folders that kubelet, containerd or a CNI plugin write to by fixed names. They
// get a layer of their own over the host's, so that nothing of it reaches the
// host and two nodes do not meet in them.
var layered = []string{"/var/lib", "/var/log"}

// private is on the tmpfs that hides the host's /run.
const private = "/run/podcov"

// Values kubelet insists on, each a switch of the whole kernel. It writes those
// that differ; here it finds them as it wants and leaves the host's alone.
var kubeletTunables = map[string]string{
	"/proc/sys/vm/overcommit_memory":      "1",
	"/proc/sys/vm/panic_on_oom":           "0",
	"/proc/sys/kernel/panic":              "10",
	"/proc/sys/kernel/panic_on_oops":      "1",
	"/proc/sys/kernel/keys/root_maxkeys":  "1000000",
	"/proc/sys/kernel/keys/root_maxbytes": "25000000",
}

// inside is process 1 of the node: descriptor 3 is closed when the link is
// there, descriptor 4 takes the answer.
func inside(state string) error {
	connected, answer := os.NewFile(3, "connected"), os.NewFile(4, "answer")
	// Not for the node's processes: `start` waits for the end of this pipe.
	syscall.CloseOnExec(3)
	syscall.CloseOnExec(4)
	described, err := load(state)
	if err == nil {
		err = nameProcess()
	}
	if err == nil {
		err = mounts(described)
	}
	if err == nil {
		io.ReadAll(connected)
		err = network(described)
	}
	if err == nil {
		err = syscall.Sethostname([]byte(described.Hostname))
	}
	if err == nil {
		// From here on the node outlives who started it.
		err = unix.Prctl(unix.PR_SET_PDEATHSIG, 0, 0, 0, 0)
	}
	if err != nil {
		fmt.Fprint(answer, err)
		return err
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM)
	keeper := newKeeper(state, described.Processes)
	go keeper.reap()
	fmt.Fprint(answer, "ok")
	answer.Close()
	keeper.run()
	<-end
	return nil
}

// nameProcess makes `ps` and `top` show more than "exe".
func nameProcess() error {
	return os.WriteFile("/proc/self/comm", []byte(initName), 0)
}

func mount(source, target, kind string, flags uintptr, data string) error {
	if err := unix.Mount(source, target, kind, flags, data); err != nil {
		return fmt.Errorf("cannot mount %s on %s: %w", source, target, err)
	}
	return nil
}

func mounts(described *machine) error {
	// What the host mounts later is seen here, never the other way round.
	if err := mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return err
	}
	kept, err := openKept(described.Keep)
	if err != nil {
		return err
	}
	if err := mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
		return err
	}
	for _, folder := range layered {
		layer := filepath.Join(private, strings.ReplaceAll(folder[1:], "/", "-"))
		upper, work := filepath.Join(layer, "upper"), filepath.Join(layer, "work")
		for _, made := range []string{upper, work} {
			if err := os.MkdirAll(made, 0o755); err != nil {
				return err
			}
		}
		options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", folder, upper, work)
		if err := mount("overlay", folder, "overlay", 0, options); err != nil {
			return err
		}
	}
	for path, folder := range kept {
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
		if err := mount(fmt.Sprintf("/proc/self/fd/%d", folder.Fd()), path, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return err
		}
		folder.Close()
	}
	if err := mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return err
	}
	for path, value := range kubeletTunables {
		if _, err := os.Stat(path); err != nil {
			continue // not in this kernel: kubelet says so itself if it minds
		}
		stand := filepath.Join(private, strings.ReplaceAll(path[1:], "/", "-"))
		if err := os.WriteFile(stand, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		if err := mount(stand, path, "", unix.MS_BIND, ""); err != nil {
			return err
		}
	}
	// Pods that ask for mount propagation need shared mounts on the node.
	return mount("", "/", "", unix.MS_REC|unix.MS_SHARED, "")
}

// openKept opens those of the folders that are about to be hidden.
func openKept(folders []string) (map[string]*os.File, error) {
	kept := make(map[string]*os.File)
	for _, folder := range folders {
		real, err := filepath.EvalSymlinks(folder)
		if err != nil {
			return nil, err
		}
		for _, hidden := range append([]string{"/run"}, layered...) {
			if !strings.HasPrefix(real, hidden+"/") {
				continue
			}
			fd, err := unix.Open(real, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", real, err)
			}
			kept[real] = os.NewFile(uintptr(fd), real)
		}
	}
	return kept, nil
}

func network(described *machine) error {
	loopback, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(loopback); err != nil {
		return err
	}
	if err := address(insideLink, described.NodeAddress); err != nil {
		return err
	}
	gateway, _, err := net.ParseCIDR(described.HostAddress)
	if err != nil {
		return err
	}
	if err := netlink.RouteAdd(&netlink.Route{Gw: gateway}); err != nil {
		return fmt.Errorf("cannot add the default route by %s: %w", gateway, err)
	}
	return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644)
}
