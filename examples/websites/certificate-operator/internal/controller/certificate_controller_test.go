package controller

import (
	"context"
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	certsv1 "websites.podcov.dev/certificate-operator/api/v1"
	"websites.podcov.dev/certificate-operator/internal/issuer"
)

// world is an API server with one Certificate, and a clock that stands still.
type world struct {
	t          *testing.T
	now        time.Time
	reconciler *CertificateReconciler
}

func newWorld(t *testing.T, spec certsv1.CertificateSpec, others ...client.Object) *world {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), certsv1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	certificate := &certsv1.Certificate{
		ObjectMeta: metav1.ObjectMeta{Name: "shop", Namespace: "ns", UID: "u-1", Generation: 1},
		Spec:       spec,
	}
	api := fake.NewClientBuilder().WithScheme(scheme).
		WithObjects(append(others, certificate)...).
		WithStatusSubresource(certificate).Build()
	w := &world{t: t, now: time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC)}
	clock := func() time.Time { return w.now }
	w.reconciler = &CertificateReconciler{
		Client: api, Uncached: api, Issuer: issuer.New(clock),
		Recorder: record.NewFakeRecorder(100), Now: clock,
	}
	return w
}

func (w *world) reconcile() ctrl.Result {
	w.t.Helper()
	key := client.ObjectKey{Namespace: "ns", Name: "shop"}
	result, err := w.reconciler.Reconcile(context.Background(), ctrl.Request{NamespacedName: key})
	if err != nil {
		w.t.Fatal(err)
	}
	return result
}

func (w *world) certificate() *certsv1.Certificate {
	w.t.Helper()
	var c certsv1.Certificate
	if err := w.reconciler.Get(context.Background(), client.ObjectKey{Namespace: "ns", Name: "shop"}, &c); err != nil {
		w.t.Fatal(err)
	}
	return &c
}

func (w *world) reason() string {
	w.t.Helper()
	condition := meta.FindStatusCondition(w.certificate().Status.Conditions, certsv1.ConditionReady)
	if condition == nil {
		w.t.Fatal("no condition")
	}
	return condition.Reason
}

func hour(renewBefore time.Duration) certsv1.CertificateSpec {
	return certsv1.CertificateSpec{
		SecretName:  "shop-tls",
		DNSNames:    []string{"shop.example.com"},
		Validity:    &metav1.Duration{Duration: time.Hour},
		RenewBefore: &metav1.Duration{Duration: renewBefore},
	}
}

func TestACertificateIsIssuedOnceAndRenewedWhenDue(t *testing.T) {
	w := newWorld(t, hour(10*time.Minute))
	if result := w.reconcile(); result.RequeueAfter != 50*time.Minute {
		t.Errorf("looks again after %s", result.RequeueAfter)
	}
	first := w.certificate().Status
	if first.Revision != 1 || w.reason() != certsv1.ReasonIssued {
		t.Fatalf("%+v", first)
	}
	w.reconcile()
	if again := w.certificate().Status; again.SerialNumber != first.SerialNumber {
		t.Error("issued twice")
	}
	w.now = w.now.Add(50 * time.Minute)
	w.reconcile()
	if renewed := w.certificate().Status; renewed.Revision != 2 || renewed.SerialNumber == first.SerialNumber {
		t.Errorf("not renewed: %+v", renewed)
	}
}

func TestASecretThatIsLostOrSpoiledIsMadeAnew(t *testing.T) {
	w := newWorld(t, hour(time.Minute))
	w.reconcile()
	ctx, key := context.Background(), client.ObjectKey{Namespace: "ns", Name: "shop-tls"}
	var secret corev1.Secret
	if err := w.reconciler.Get(ctx, key, &secret); err != nil {
		t.Fatal(err)
	}
	secret.Data[corev1.TLSPrivateKeyKey] = []byte("spoiled")
	if err := w.reconciler.Update(ctx, &secret); err != nil {
		t.Fatal(err)
	}
	w.reconcile()
	if err := w.reconciler.Delete(ctx, &secret); err != nil {
		t.Fatal(err)
	}
	w.reconcile()
	if revision := w.certificate().Status.Revision; revision != 3 {
		t.Errorf("revision is %d", revision)
	}
}

func TestASecretOfSomebodyElseIsLeftAlone(t *testing.T) {
	other := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "shop-tls", Namespace: "ns"}}
	w := newWorld(t, hour(time.Minute), other)
	w.reconcile()
	if reason := w.reason(); reason != certsv1.ReasonSecretTaken {
		t.Error(reason)
	}
}

func TestARequestToRenewIsObeyedOnce(t *testing.T) {
	w := newWorld(t, hour(time.Minute))
	w.reconcile()
	certificate := w.certificate()
	certificate.Annotations = map[string]string{certsv1.AnnotationRenew: "now"}
	if err := w.reconciler.Update(context.Background(), certificate); err != nil {
		t.Fatal(err)
	}
	w.reconcile()
	obeyed := w.certificate().Status
	// As if the status had not been written: the Secret must be enough to know.
	certificate = w.certificate()
	certificate.Status = certsv1.CertificateStatus{}
	if err := w.reconciler.Status().Update(context.Background(), certificate); err != nil {
		t.Fatal(err)
	}
	w.reconcile()
	if again := w.certificate().Status; obeyed.Revision != 2 || again.SerialNumber != obeyed.SerialNumber {
		t.Errorf("revision %d, %+v", obeyed.Revision, again)
	}
}

func TestASpecificationThatCannotBeFulfilledIsTold(t *testing.T) {
	w := newWorld(t, hour(2*time.Hour))
	if result := w.reconcile(); result.RequeueAfter != 0 {
		t.Error("tries again although nothing can change")
	}
	if reason := w.reason(); reason != certsv1.ReasonInvalidSpec {
		t.Error(reason)
	}
}
