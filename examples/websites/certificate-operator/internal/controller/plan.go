package controller

import (
	"errors"
	"fmt"
	"time"

	certsv1 "websites.podcov.dev/certificate-operator/api/v1"
	"websites.podcov.dev/certificate-operator/internal/issuer"
)

// plan is a specification with its defaults filled in.
type plan struct {
	request     issuer.Request
	renewBefore time.Duration
}

// newPlan fills in the defaults and finds what cannot be fulfilled.
func newPlan(spec certsv1.CertificateSpec) (*plan, error) {
	validity := certsv1.DefaultValidity
	if spec.Validity != nil {
		validity = spec.Validity.Duration
	}
	renewBefore := validity / 3
	if spec.RenewBefore != nil {
		renewBefore = spec.RenewBefore.Duration
	}
	switch {
	case spec.SecretName == "":
		return nil, errors.New("secretName is empty")
	case len(spec.DNSNames) == 0:
		return nil, errors.New("dnsNames is empty")
	case validity < certsv1.MinimalValidity:
		return nil, fmt.Errorf("validity %s is below %s", validity, certsv1.MinimalValidity)
	case renewBefore >= validity:
		return nil, fmt.Errorf("renewBefore %s leaves nothing of a validity of %s", renewBefore, validity)
	case renewBefore <= 0:
		return nil, fmt.Errorf("renewBefore %s must be positive", renewBefore)
	}
	return &plan{
		request: issuer.Request{
			CommonName: spec.CommonName,
			DNSNames:   spec.DNSNames,
			Validity:   validity,
			Algorithm:  issuer.Algorithm(spec.KeyAlgorithm),
		},
		renewBefore: renewBefore,
	}, nil
}

// renewalTime is when a certificate that ends at notAfter is to be replaced.
func (p *plan) renewalTime(notAfter time.Time) time.Time {
	return notAfter.Add(-p.renewBefore)
}

// Why a certificate is issued; the empty cause is no reason to.
type cause string

const (
	causeNone      cause = ""
	causeMissing   cause = "there was none"
	causeMismatch  cause = "the specification changed"
	causeDue       cause = "it was due"
	causeRequested cause = "it was asked for"
)

// decide says whether the certificate found (nil if there is none that fits) is to be replaced.
func (p *plan) decide(now time.Time, secretExists bool, found *issuer.Pair, token, obeyed string) cause {
	switch {
	case !secretExists:
		return causeMissing
	case found == nil:
		return causeMismatch
	case token != "" && token != obeyed:
		return causeRequested
	case !now.Before(p.renewalTime(found.NotAfter)):
		return causeDue
	default:
		return causeNone
	}
}
