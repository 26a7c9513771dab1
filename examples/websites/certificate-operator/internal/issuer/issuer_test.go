package issuer

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"time"
)

var request = Request{
	CommonName: "shop.example.com",
	DNSNames:   []string{"shop.example.com", "shop.ns.svc"},
	Validity:   time.Hour,
}

func issue(t *testing.T, r Request) *Pair {
	t.Helper()
	pair, err := New(time.Now).Issue(r)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

func TestAnIssuedCertificateServesItsNames(t *testing.T) {
	for _, algorithm := range []Algorithm{"", ECDSA, RSA} {
		r := request
		r.Algorithm = algorithm
		pair := issue(t, r)
		loaded, err := tls.X509KeyPair(pair.Certificate, pair.Key)
		if err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AddCert(loaded.Leaf)
		for _, name := range r.DNSNames {
			options := x509.VerifyOptions{DNSName: name, Roots: roots}
			if _, err := loaded.Leaf.Verify(options); err != nil {
				t.Errorf("%q: %v", algorithm, err)
			}
		}
		if _, err := Inspect(pair.Certificate, pair.Key, r); err != nil {
			t.Errorf("%q: %v", algorithm, err)
		}
	}
}

func TestWhatDoesNotFitIsFound(t *testing.T) {
	pair, other := issue(t, request), issue(t, request)
	with := func(change func(*Request)) Request {
		changed := request
		change(&changed)
		return changed
	}
	for name, try := range map[string]struct {
		certificate, key []byte
		request          Request
	}{
		"no PEM":          {[]byte("x"), pair.Key, request},
		"no key":          {pair.Certificate, nil, request},
		"foreign key":     {pair.Certificate, other.Key, request},
		"other subject":   {pair.Certificate, pair.Key, with(func(r *Request) { r.CommonName = "b" })},
		"other names":     {pair.Certificate, pair.Key, with(func(r *Request) { r.DNSNames = []string{"b"} })},
		"other validity":  {pair.Certificate, pair.Key, with(func(r *Request) { r.Validity = time.Minute })},
		"other algorithm": {pair.Certificate, pair.Key, with(func(r *Request) { r.Algorithm = RSA })},
	} {
		if _, err := Inspect(try.certificate, try.key, try.request); !errors.Is(err, ErrMismatch) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestALongNameIsLeftOutOfTheSubject(t *testing.T) {
	r := request
	r.CommonName = strings.Repeat("a", 60) + ".example.com"
	pair := issue(t, r)
	if _, err := Inspect(pair.Certificate, pair.Key, r); err != nil {
		t.Error(err)
	}
	if got := subject(r); got != "" {
		t.Errorf("subject is %q", got)
	}
}

func TestAnUnknownAlgorithmIsRefused(t *testing.T) {
	r := request
	r.Algorithm = "DSA"
	if _, err := New(time.Now).Issue(r); err == nil {
		t.Error("issued")
	}
}
