package main

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"os"
	"time"
)

// probe tells whether a process is ready. One of Unix and URL is set.
type probe struct {
	// Unix is a socket that has to accept a connection.
	Unix string `json:"unix,omitempty"`
	// URL has to answer 200.
	URL string `json:"url,omitempty"`
	// CA is the file with the certificate that the URL's is checked by.
	CA string `json:"ca,omitempty"`

	client *http.Client
}

const probeTimeout = 2 * time.Second

func (p *probe) holds() bool {
	if p.Unix != "" {
		connection, err := net.DialTimeout("unix", p.Unix, probeTimeout)
		if err != nil {
			return false
		}
		connection.Close()
		return true
	}
	if p.client == nil {
		pool := x509.NewCertPool()
		if pem, err := os.ReadFile(p.CA); err == nil {
			pool.AppendCertsFromPEM(pem)
		}
		p.client = &http.Client{
			Timeout:   probeTimeout,
			Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}},
		}
	}
	answer, err := p.client.Get(p.URL)
	if err != nil {
		return false
	}
	answer.Body.Close()
	return answer.StatusCode == http.StatusOK
}
