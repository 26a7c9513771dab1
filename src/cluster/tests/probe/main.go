// A pod's view of its cluster, for the tests of the embedded one.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

const account = "/var/run/secrets/kubernetes.io/serviceaccount/"

func main() {
	if len(os.Args) > 1 && os.Args[1] == "check" {
		// A Service that was made a moment ago is not in every rule yet.
		var err error
		for range 60 {
			if err = check(); err == nil {
				fmt.Println("all reached")
				return
			}
			time.Sleep(500 * time.Millisecond)
		}
		fmt.Println(err)
		os.Exit(1)
	}
	if len(os.Args) > 1 && os.Args[1] == "hello" {
		fmt.Println("hello from inside")
		return
	}
	if folder := os.Getenv("EVIDENCE"); folder != "" {
		if err := os.WriteFile(folder+"/mark", []byte("written by a pod"), 0o644); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	fmt.Println("listening")
	http.ListenAndServe(":8080", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "served by a pod")
	}))
}

// check reaches a Service by its name, and the API by its Service with the
// pod's own account.
func check() error {
	for _, name := range []string{"probe", "probe.default.svc.cluster.local", "kubernetes.default"} {
		if _, err := net.LookupHost(name); err != nil {
			return err
		}
	}
	if err := get(http.DefaultClient, "http://probe/", ""); err != nil {
		return err
	}
	authority, err := os.ReadFile(account + "ca.crt")
	if err != nil {
		return err
	}
	token, err := os.ReadFile(account + "token")
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authority)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	service := net.JoinHostPort(os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT"))
	for _, host := range []string{service, "kubernetes.default.svc.cluster.local"} {
		if err := get(client, "https://"+host+"/api", string(token)); err != nil {
			return err
		}
	}
	return nil
}

func get(client *http.Client, url, token string) error {
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", url, answer.Status, body)
	}
	return err
}
