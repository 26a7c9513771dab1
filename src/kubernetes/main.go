// One static program that is a whole single-node Kubernetes: it acts as the
// component it is called by (busybox style).
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

// applets maps each name this program answers to onto what it then runs.
// Each returns the exit status of the process.
var applets = map[string]func() int{
	"kube-apiserver":          cobraApplet(apiserver.NewAPIServerCommand),
	"kube-controller-manager": cobraApplet(controllers.NewControllerManagerCommand),
	"kube-scheduler":          cobraApplet(func() *cobra.Command { return scheduler.NewSchedulerCommand() }),
	"kube-proxy":              cobraApplet(proxy.NewProxyCommand),
	"kubelet":                 cobraApplet(func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) }),
	"kubectl":                 runKubectl,
	"etcd":                    func() int { etcdmain.Main(os.Args); return 0 },
	"coredns":                 func() int { coremain.Run(); return 0 },
}

func cobraApplet(command func() *cobra.Command) func() int {
	return func() int { return cli.Run(command()) }
}

// runKubectl prints errors the way the real kubectl does, which cli.Run does not.
func runKubectl() int {
	if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
		kubectlutil.CheckErr(err)
	}
	return 0
}

func main() {
	name := filepath.Base(os.Args[0])
	applet, known := applets[name]
	if !known && len(os.Args) > 1 {
		// `podcov-kubernetes kubectl …` is the same as calling it kubectl.
		name = os.Args[1]
		if applet, known = applets[name]; known {
			os.Args = os.Args[1:]
		}
	}
	if !known {
		names := make([]string, 0, len(applets))
		for n := range applets {
			names = append(names, n)
		}
		sort.Strings(names)
		fmt.Fprintf(os.Stderr, "expected one of these as the program's name or first argument: %s\n", strings.Join(names, ", "))
		os.Exit(2)
	}
	os.Exit(applet())
}

func init() {
	// CoreDNS runs its plugins in this order, whatever the Corefile's.
	dnsserver.Directives = []string{"bind", "health", "ready", "errors", "cache", "kubernetes"}
}
