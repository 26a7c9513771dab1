// Command manager runs the certificate operator.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	certsv1 "websites.podcov.dev/certificate-operator/api/v1"
	"websites.podcov.dev/certificate-operator/internal/controller"
	"websites.podcov.dev/certificate-operator/internal/issuer"
)

type options struct {
	healthAddress  string
	metricsAddress string
	level          slog.Level
}

func parse(args []string) (*options, error) {
	var o options
	flags := flag.NewFlagSet("certificate-operator", flag.ContinueOnError)
	flags.StringVar(&o.healthAddress, "health-address", ":8081", "where probes are answered")
	flags.StringVar(&o.metricsAddress, "metrics-address", "0", "where metrics are answered; 0 for nowhere")
	flags.TextVar(&o.level, "log-level", slog.LevelInfo, "DEBUG, INFO, WARN or ERROR")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("expected no arguments but flags, found %q", flags.Arg(0))
	}
	return &o, nil
}

func main() {
	options, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		err = run(ctrl.SetupSignalHandler(), options)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "certificate-operator:", err)
		os.Exit(1)
	}
}

// run works until ctx ends.
func run(ctx context.Context, o *options) error {
	handler := slog.NewJSONHandler(os.Stdout, &slog.HandlerOptions{Level: o.level})
	ctrl.SetLogger(logr.FromSlogHandler(handler))

	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), certsv1.AddToScheme(scheme)); err != nil {
		return err
	}
	config, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("could not find a cluster: %w", err)
	}
	// Only our own Secrets are cached, not everybody's passwords.
	ours := labels.SelectorFromSet(labels.Set{controller.ManagedByLabel: controller.ManagedBy})
	grace := 10 * time.Second
	manager, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:                  scheme,
		HealthProbeBindAddress:  o.healthAddress,
		Metrics:                 metricsserver.Options{BindAddress: o.metricsAddress},
		GracefulShutdownTimeout: &grace,
		Cache: cache.Options{ByObject: map[client.Object]cache.ByObject{
			&corev1.Secret{}: {Label: ours},
		}},
	})
	if err != nil {
		return fmt.Errorf("could not set up: %w", err)
	}
	reconciler := &controller.CertificateReconciler{
		Client:   manager.GetClient(),
		Uncached: manager.GetAPIReader(),
		Issuer:   issuer.New(time.Now),
		Recorder: manager.GetEventRecorderFor("certificate-operator"),
		Now:      time.Now,
	}
	if err := reconciler.SetupWithManager(manager); err != nil {
		return fmt.Errorf("could not set up the controller: %w", err)
	}
	synced := func(r *http.Request) error {
		if !manager.GetCache().WaitForCacheSync(r.Context()) {
			return errors.New("caches are not filled yet")
		}
		return nil
	}
	if err := errors.Join(
		manager.AddHealthzCheck("alive", healthz.Ping),
		manager.AddReadyzCheck("caches", synced),
	); err != nil {
		return err
	}
	return manager.Start(ctx)
}
