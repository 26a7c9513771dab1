// Package v1 is the API of the certificate operator.
//
// +kubebuilder:object:generate=true
// +groupName=certs.podcov.dev
package v1

//go:generate go run sigs.k8s.io/controller-tools/cmd/controller-gen@v0.19.0 object paths=.
//go:generate go run sigs.k8s.io/controller-tools/cmd/controller-gen@v0.19.0 crd paths=. output:crd:dir=../../../manifests/crds
