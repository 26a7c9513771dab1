package v1

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// DefaultValidity is how long a certificate is good for if nobody says so.
	DefaultValidity = 90 * 24 * time.Hour
	// MinimalValidity is the shortest that is issued: below it, clocks that differ matter.
	MinimalValidity = 10 * time.Second

	// ConditionReady says that the Secret holds a certificate that fits the specification.
	ConditionReady = "Ready"

	// ReasonIssued and the others are the reasons of ConditionReady.
	ReasonIssued      = "Issued"
	ReasonInvalidSpec = "InvalidSpec"
	ReasonSecretTaken = "SecretTaken"
	ReasonIssueFailed = "IssueFailed"

	// AnnotationRenew on a Certificate asks for a renewal now; any new value counts. On the
	// Secret, it is the value that was last obeyed.
	AnnotationRenew = "certs.podcov.dev/renew"
)

// KeyAlgorithm names the kind of a key.
// +kubebuilder:validation:Enum=ECDSA;RSA
type KeyAlgorithm string

const (
	// ECDSA on the curve P-256.
	ECDSA KeyAlgorithm = "ECDSA"
	// RSA with 2048 bits.
	RSA KeyAlgorithm = "RSA"
)

// CertificateSpec is what is asked for.
// +kubebuilder:validation:XValidation:rule="!has(self.validity) || duration(self.validity) >= duration('10s')",message="validity must be at least 10s"
type CertificateSpec struct {
	// SecretName is the Secret of type kubernetes.io/tls to keep it in.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	SecretName string `json:"secretName"`
	// CommonName is the subject; the first of DNSNames if empty.
	// +optional
	CommonName string `json:"commonName,omitempty"`
	// DNSNames it is valid for.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	DNSNames []string `json:"dnsNames"`
	// Validity is how long it is good for.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:Pattern=`^([0-9]+(h|m|s))+$`
	Validity *metav1.Duration `json:"validity,omitempty"`
	// RenewBefore is how long before its end it is replaced; a third of the validity if empty.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:Pattern=`^([0-9]+(h|m|s))+$`
	RenewBefore *metav1.Duration `json:"renewBefore,omitempty"`
	// KeyAlgorithm of the private key.
	// +optional
	// +kubebuilder:default=ECDSA
	KeyAlgorithm KeyAlgorithm `json:"keyAlgorithm,omitempty"`
}

// CertificateStatus is what there is.
type CertificateStatus struct {
	// ObservedGeneration is the generation that this status speaks of.
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Revision counts the certificates issued.
	Revision int64 `json:"revision,omitempty"`
	// SerialNumber in hexadecimal.
	SerialNumber string `json:"serialNumber,omitempty"`
	// NotBefore and NotAfter are the limits of the current certificate.
	NotBefore *metav1.Time `json:"notBefore,omitempty"`
	NotAfter  *metav1.Time `json:"notAfter,omitempty"`
	// RenewalTime is when it is going to be replaced.
	RenewalTime *metav1.Time `json:"renewalTime,omitempty"`
	// Conditions: Ready.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// Certificate is a certificate that the operator keeps fresh in a Secret.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=cert
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Secret",type=string,JSONPath=`.spec.secretName`
// +kubebuilder:printcolumn:name="Revision",type=integer,JSONPath=`.status.revision`
// +kubebuilder:printcolumn:name="Expires",type=string,JSONPath=`.status.notAfter`
type Certificate struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   CertificateSpec   `json:"spec"`
	Status CertificateStatus `json:"status,omitempty"`
}

// CertificateList is a list of them.
// +kubebuilder:object:root=true
type CertificateList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []Certificate `json:"items"`
}
