// Package issuer makes certificates and judges them. It knows nothing of Kubernetes.
package issuer

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
	"time"
)

// Clocks differ: a certificate is good from a little before it was made.
const backdate = time.Minute

// Algorithm of a private key.
type Algorithm string

const (
	// ECDSA on the curve P-256.
	ECDSA Algorithm = "ECDSA"
	// RSA with 2048 bits.
	RSA Algorithm = "RSA"
)

// Request says what a certificate is to be good for.
type Request struct {
	CommonName string
	DNSNames   []string
	Validity   time.Duration
	Algorithm  Algorithm
}

// Pair is a certificate with its key, in PEM.
type Pair struct {
	Certificate []byte
	Key         []byte
	Serial      string
	NotBefore   time.Time
	NotAfter    time.Time
}

// Issuer makes self-signed certificates.
type Issuer struct {
	now    func() time.Time
	random io.Reader
}

// New makes an issuer that goes by the clock now.
func New(now func() time.Time) *Issuer {
	return &Issuer{now: now, random: rand.Reader}
}

// Issue makes a new key and a certificate for it, signed by itself.
func (i *Issuer) Issue(request Request) (*Pair, error) {
	key, err := i.newKey(request.Algorithm)
	if err != nil {
		return nil, fmt.Errorf("could not make a key: %w", err)
	}
	serial, err := rand.Int(i.random, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("could not make a serial number: %w", err)
	}
	now := i.now().UTC().Truncate(time.Second)
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: subject(request)},
		DNSNames:              request.DNSNames,
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(request.Validity),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	if request.Algorithm == RSA {
		template.KeyUsage |= x509.KeyUsageKeyEncipherment
	}
	der, err := x509.CreateCertificate(i.random, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("could not sign the certificate: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("could not encode the key: %w", err)
	}
	return &Pair{
		Certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:         pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
		Serial:      fmt.Sprintf("%x", serial),
		NotBefore:   template.NotBefore,
		NotAfter:    template.NotAfter,
	}, nil
}

func (i *Issuer) newKey(algorithm Algorithm) (crypto.Signer, error) {
	switch algorithm {
	case ECDSA, "":
		return ecdsa.GenerateKey(elliptic.P256(), i.random)
	case RSA:
		return rsa.GenerateKey(i.random, 2048)
	default:
		return nil, fmt.Errorf("expected ECDSA or RSA, found %q", algorithm)
	}
}

// Subjects have room for 64 characters (RFC 5280, ub-common-name); longer names are only
// in the alternative names, which is where clients look.
func subject(request Request) string {
	name := request.CommonName
	if name == "" && len(request.DNSNames) > 0 {
		name = request.DNSNames[0]
	}
	if len(name) > 64 {
		return ""
	}
	return name
}

// ErrMismatch is the reason why a certificate does not fit a request.
var ErrMismatch = errors.New("certificate does not fit")

// Inspect reads a pair back and says whether it fits the request; the time is not looked at.
func Inspect(certificate, key []byte, request Request) (*Pair, error) {
	block, _ := pem.Decode(certificate)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, fmt.Errorf("%w: no certificate in PEM", ErrMismatch)
	}
	parsed, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMismatch, err)
	}
	signer, err := parseKey(key)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMismatch, err)
	}
	public, ok := signer.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(parsed.PublicKey) {
		return nil, fmt.Errorf("%w: the key belongs to another certificate", ErrMismatch)
	}
	if parsed.Subject.CommonName != subject(request) {
		return nil, fmt.Errorf("%w: subject is %q", ErrMismatch, parsed.Subject.CommonName)
	}
	if !slices.Equal(parsed.DNSNames, request.DNSNames) {
		return nil, fmt.Errorf("%w: names are %v", ErrMismatch, parsed.DNSNames)
	}
	if span := parsed.NotAfter.Sub(parsed.NotBefore) - backdate; span != request.Validity {
		return nil, fmt.Errorf("%w: validity is %s", ErrMismatch, span)
	}
	if !sameAlgorithm(signer, request.Algorithm) {
		return nil, fmt.Errorf("%w: another kind of key", ErrMismatch)
	}
	return &Pair{
		Certificate: certificate,
		Key:         key,
		Serial:      fmt.Sprintf("%x", parsed.SerialNumber),
		NotBefore:   parsed.NotBefore,
		NotAfter:    parsed.NotAfter,
	}, nil
}

func parseKey(key []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(key)
	if block == nil {
		return nil, errors.New("no key in PEM")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	signer, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("key of type %T cannot sign", parsed)
	}
	return signer, nil
}

func sameAlgorithm(signer crypto.Signer, algorithm Algorithm) bool {
	switch signer.(type) {
	case *ecdsa.PrivateKey:
		return algorithm == ECDSA || algorithm == ""
	case *rsa.PrivateKey:
		return algorithm == RSA
	default:
		return false
	}
}
