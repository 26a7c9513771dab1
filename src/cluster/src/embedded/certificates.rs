//! Certificates of one cluster: a CA and what it signs, made at each start.
//!
//! The API server could make a serving certificate for itself, but that one
//! lacks `kubernetes.default.svc.cluster.local`, and rustls refuses a CA
//! certificate used as a server's.

use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::files;
use crate::provider::Error;

/// A certificate with its key, both as PEM.
pub(crate) struct Pair {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

/// Signs what the parts of a cluster show each other.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pair: Pair,
}

impl Authority {
    /// A new one, by a name of its own.
    pub fn new(name: &str) -> Result<Authority, Error> {
        let mut wanted = subject(name, None)?;
        wanted.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        wanted.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = wanted.self_signed(&key).map_err(failed)?.pem();
        let pair = Pair {
            certificate,
            key: key.serialize_pem(),
        };
        Ok(Authority {
            issuer: Issuer::new(wanted, key),
            pair,
        })
    }

    /// Who shows it is `user` in `group`.
    pub fn client(&self, user: &str, group: Option<&str>) -> Result<Pair, Error> {
        let mut wanted = subject(user, group)?;
        wanted.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(wanted)
    }

    /// Who shows it is one of these hosts; names and addresses.
    pub fn server(&self, name: &str, hosts: &[String]) -> Result<Pair, Error> {
        let mut wanted = subject(name, None)?;
        wanted.subject_alt_names = CertificateParams::new(hosts)
            .map_err(failed)?
            .subject_alt_names;
        wanted.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(wanted)
    }

    fn sign(&self, mut wanted: CertificateParams) -> Result<Pair, Error> {
        wanted.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
        ];
        wanted.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = wanted.signed_by(&key, &self.issuer).map_err(failed)?.pem();
        Ok(Pair {
            certificate,
            key: key.serialize_pem(),
        })
    }
}

impl Pair {
    /// Writes `<name>.crt` and `<name>.key`.
    pub fn write(&self, folder: &Path, name: &str) -> Result<(), Error> {
        files::write_private(&folder.join(format!("{name}.crt")), &self.certificate)?;
        files::write_private(&folder.join(format!("{name}.key")), &self.key)
    }
}

/// The key pair that service account tokens are signed with.
pub(crate) fn service_account_keys(folder: &Path) -> Result<(), Error> {
    let key = KeyPair::generate().map_err(failed)?;
    files::write_private(&folder.join("service-account.key"), &key.serialize_pem())?;
    files::write_private(&folder.join("service-account.pub"), &key.public_key_pem())
}

fn subject(name: &str, organization: Option<&str>) -> Result<CertificateParams, Error> {
    let mut wanted = CertificateParams::new(Vec::new()).map_err(failed)?;
    wanted.distinguished_name = rcgen::DistinguishedName::new();
    if let Some(organization) = organization {
        wanted
            .distinguished_name
            .push(DnType::OrganizationName, organization);
    }
    wanted.distinguished_name.push(DnType::CommonName, name);
    Ok(wanted)
}

fn failed(error: rcgen::Error) -> Error {
    Error::Other(format!(
        "cannot make the certificates of the cluster: {error}"
    ))
}
