//! The certificate that the webhook shows to the API server, and the one that
//! the API server trusts it by. The key of the latter is thrown away, so that
//! nobody can ever sign another webhook's.

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::target::Error;

/// How long it is good for.
const DAYS: i32 = 365;

/// PEM texts.
pub(super) struct Certificate {
    pub(super) authority: String,
    pub(super) certificate: String,
    pub(super) key: String,
    /// The day on which it ends.
    pub(super) expires: Date,
}

impl Certificate {
    /// A new one for a host.
    pub(super) fn new(host: &str) -> Result<Self, Error> {
        let today = Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
        // The clock of the API server may be behind.
        let (begin, expires) = (today - 1.day(), today + DAYS.days());
        make(host, begin, expires)
            .map_err(|error| Error::Webhook(format!("its certificate could not be made: {error}")))
    }
}

fn make(host: &str, begin: Date, expires: Date) -> Result<Certificate, rcgen::Error> {
    let params = |name: &str| {
        let mut params = CertificateParams::default();
        let day = |date: Date| {
            rcgen::date_time_ymd(date.year().into(), date.month() as u8, date.day() as u8)
        };
        (params.not_before, params.not_after) = (day(begin), day(expires));
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params
    };
    let mut authority = params("podcov-inject authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let key = KeyPair::generate()?;
    let authority_pem = authority.self_signed(&key)?.pem();
    let issuer = Issuer::new(authority, key);

    let mut wanted = params("podcov-inject");
    wanted.subject_alt_names = CertificateParams::new(vec![host.to_owned()])?.subject_alt_names;
    wanted.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    wanted.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    wanted.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    Ok(Certificate {
        authority: authority_pem,
        certificate: wanted.signed_by(&key, &issuer)?.pem(),
        key: key.serialize_pem(),
        expires,
    })
}
