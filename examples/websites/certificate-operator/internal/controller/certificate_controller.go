// Package controller keeps certificates fresh.
package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/log"

	certsv1 "websites.podcov.dev/certificate-operator/api/v1"
	"websites.podcov.dev/certificate-operator/internal/issuer"
)

const (
	// ManagedByLabel marks the Secrets of this operator; only those are cached.
	ManagedByLabel = "app.kubernetes.io/managed-by"
	// ManagedBy is its value.
	ManagedBy = "certificate-operator"

	takenRetry    = 10 * time.Second
	conflictRetry = 100 * time.Millisecond
)

// Issuer makes certificates.
type Issuer interface {
	Issue(request issuer.Request) (*issuer.Pair, error)
}

// CertificateReconciler reconciles Certificate objects.
type CertificateReconciler struct {
	client.Client
	// Uncached reads what the cache does not hold: Secrets of others.
	Uncached client.Reader
	Issuer   Issuer
	Recorder record.EventRecorder
	Now      func() time.Time
}

// errTaken says that the Secret belongs to somebody else.
var errTaken = errors.New("secret belongs to somebody else")

// Reconcile brings one Certificate closer to what it asks for.
func (r *CertificateReconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	var certificate certsv1.Certificate
	if err := r.Get(ctx, request.NamespacedName, &certificate); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !certificate.DeletionTimestamp.IsZero() {
		// The Secret goes with its owner.
		return ctrl.Result{}, nil
	}
	result, err := r.reconcile(ctx, &certificate)
	if apierrors.IsConflict(err) || isLeaving(err) {
		// An older version was in the cache, or the namespace is on its way out.
		return ctrl.Result{RequeueAfter: conflictRetry}, nil
	}
	return result, err
}

func (r *CertificateReconciler) reconcile(ctx context.Context, certificate *certsv1.Certificate) (ctrl.Result, error) {
	before := certificate.DeepCopy()
	plan, err := newPlan(certificate.Spec)
	if err != nil {
		r.notReady(certificate, certsv1.ReasonInvalidSpec, err)
		return ctrl.Result{}, r.writeStatus(ctx, before, certificate)
	}
	pair, err := r.ensureSecret(ctx, certificate, plan)
	switch {
	case errors.Is(err, errTaken):
		r.notReady(certificate, certsv1.ReasonSecretTaken, err)
		return ctrl.Result{RequeueAfter: takenRetry}, r.writeStatus(ctx, before, certificate)
	case err != nil:
		if apierrors.IsConflict(err) || isLeaving(err) {
			return ctrl.Result{}, err
		}
		r.notReady(certificate, certsv1.ReasonIssueFailed, err)
		return ctrl.Result{}, errors.Join(err, r.writeStatus(ctx, before, certificate))
	}
	r.ready(certificate, plan, pair)
	wait := plan.renewalTime(pair.NotAfter).Sub(r.Now())
	return ctrl.Result{RequeueAfter: max(wait, conflictRetry)}, r.writeStatus(ctx, before, certificate)
}

// ensureSecret returns the certificate in the Secret, after issuing one if need be.
func (r *CertificateReconciler) ensureSecret(ctx context.Context, certificate *certsv1.Certificate, plan *plan) (*issuer.Pair, error) {
	var secret corev1.Secret
	key := client.ObjectKey{Namespace: certificate.Namespace, Name: certificate.Spec.SecretName}
	err := r.Get(ctx, key, &secret)
	if client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("could not read secret %s: %w", key.Name, err)
	}
	exists := err == nil
	if exists && !metav1.IsControlledBy(&secret, certificate) {
		return nil, fmt.Errorf("%w: %s", errTaken, key.Name)
	}
	var found *issuer.Pair
	if exists {
		found, err = issuer.Inspect(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey], plan.request)
		if err != nil {
			log.FromContext(ctx).Info("certificate is replaced", "because", err.Error())
			found = nil
		}
	}
	token := certificate.Annotations[certsv1.AnnotationRenew]
	why := plan.decide(r.Now(), exists, found, token, secret.Annotations[certsv1.AnnotationRenew])
	if why == causeNone {
		return found, nil
	}
	pair, err := r.Issuer.Issue(plan.request)
	if err != nil {
		return nil, err
	}
	if err := r.writeSecret(ctx, certificate, &secret, exists, pair); err != nil {
		return nil, err
	}
	log.FromContext(ctx).Info("certificate issued", "because", string(why), "serial", pair.Serial)
	r.Recorder.Eventf(certificate, corev1.EventTypeNormal, certsv1.ReasonIssued,
		"certificate %s issued because %s", pair.Serial, why)
	return pair, nil
}

func (r *CertificateReconciler) writeSecret(ctx context.Context, certificate *certsv1.Certificate, secret *corev1.Secret, exists bool, pair *issuer.Pair) error {
	if secret.Labels == nil {
		secret.Labels = map[string]string{}
	}
	secret.Labels[ManagedByLabel] = ManagedBy
	// The request that was obeyed is kept with the certificate, in one write: kept in the status,
	// it would be obeyed again whenever that second write fails.
	if token := certificate.Annotations[certsv1.AnnotationRenew]; token != "" {
		metav1.SetMetaDataAnnotation(&secret.ObjectMeta, certsv1.AnnotationRenew, token)
	}
	secret.Data = map[string][]byte{
		corev1.TLSCertKey:       pair.Certificate,
		corev1.TLSPrivateKeyKey: pair.Key,
		"ca.crt":                pair.Certificate,
	}
	if exists {
		return r.Update(ctx, secret)
	}
	secret.Name, secret.Namespace = certificate.Spec.SecretName, certificate.Namespace
	secret.Type = corev1.SecretTypeTLS
	if err := ctrl.SetControllerReference(certificate, secret, r.Scheme()); err != nil {
		return fmt.Errorf("could not own secret %s: %w", secret.Name, err)
	}
	err := r.Create(ctx, secret)
	if !apierrors.IsAlreadyExists(err) {
		return err
	}
	// Either the cache is behind and it is ours, or it never will be in it.
	var other corev1.Secret
	if err := r.Uncached.Get(ctx, client.ObjectKeyFromObject(secret), &other); err != nil {
		return err
	}
	if metav1.IsControlledBy(&other, certificate) {
		return apierrors.NewConflict(corev1.Resource("secrets"), secret.Name, errors.New("cache is behind"))
	}
	return fmt.Errorf("%w: %s", errTaken, secret.Name)
}

func (r *CertificateReconciler) ready(certificate *certsv1.Certificate, plan *plan, pair *issuer.Pair) {
	status := &certificate.Status
	if status.SerialNumber != pair.Serial {
		// Also when an earlier process wrote the Secret and ended before it wrote the status.
		status.SerialNumber = pair.Serial
		status.Revision++
	}
	notBefore, notAfter := metav1.NewTime(pair.NotBefore), metav1.NewTime(pair.NotAfter)
	renewal := metav1.NewTime(plan.renewalTime(pair.NotAfter))
	status.NotBefore, status.NotAfter, status.RenewalTime = &notBefore, &notAfter, &renewal
	status.ObservedGeneration = certificate.Generation
	meta.SetStatusCondition(&status.Conditions, metav1.Condition{
		Type:               certsv1.ConditionReady,
		Status:             metav1.ConditionTrue,
		Reason:             certsv1.ReasonIssued,
		Message:            "certificate is in secret " + certificate.Spec.SecretName,
		ObservedGeneration: certificate.Generation,
	})
}

func (r *CertificateReconciler) notReady(certificate *certsv1.Certificate, reason string, err error) {
	certificate.Status.ObservedGeneration = certificate.Generation
	changed := meta.SetStatusCondition(&certificate.Status.Conditions, metav1.Condition{
		Type:               certsv1.ConditionReady,
		Status:             metav1.ConditionFalse,
		Reason:             reason,
		Message:            err.Error(),
		ObservedGeneration: certificate.Generation,
	})
	if changed {
		r.Recorder.Event(certificate, corev1.EventTypeWarning, reason, err.Error())
	}
}

// writeStatus writes the status under the resource version that was read.
func (r *CertificateReconciler) writeStatus(ctx context.Context, before, after *certsv1.Certificate) error {
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if data, err := client.MergeFrom(before).Data(after); err == nil && string(data) == "{}" {
		return nil
	}
	return client.IgnoreNotFound(r.Status().Patch(ctx, after, patch))
}

func isLeaving(err error) bool {
	return apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause)
}

// SetupWithManager registers the reconciler.
func (r *CertificateReconciler) SetupWithManager(manager ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(manager).
		For(&certsv1.Certificate{}).
		Owns(&corev1.Secret{}).
		WithOptions(controller.Options{MaxConcurrentReconciles: 4}).
		Complete(r)
}
