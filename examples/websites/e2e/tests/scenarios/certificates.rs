//! HTTPS and what stands behind it.

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use e2e::{Failure, World, scenario};
use k8s_openapi::api::core::v1::{Secret, Service};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;
use sha2::{Digest, Sha256};
use website_api::condition::CERTIFICATE_READY;
use website_api::{Certificate, CertificateSpec, CertificateStatus, is_true};

#[tokio::test]
async fn a_website_with_tls_serves_the_certificate_of_its_secret() -> Result<(), Failure> {
    scenario("tls", async |world| {
        let mut spec = world.site("shop", "secret garden");
        spec["tls"] = json!({"mode": "SelfSigned"});
        world.create_ready("shop", spec).await?;
        ensure!(world.get_tls("shop", "/").await?.body == "secret garden");
        ensure!(served(world, "shop").await? == kept(world, "shop-tls").await?);

        // And back to plain HTTP.
        world
            .change("shop", json!({"tls": {"mode": "Disabled"}}))
            .await?;
        world.ready("shop").await?;
        world.gone::<Secret>("shop-tls").await?;
        let service = world.objects::<Service>().get("shop").await?;
        let ports = service.spec.and_then(|spec| spec.ports).unwrap_or_default();
        ensure!(ports.len() == 1 && ports[0].port == 80, "{ports:?}");
        world.shows("shop", "/", "secret garden").await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_certificate_is_renewed_before_its_end_and_served() -> Result<(), Failure> {
    scenario("renewal", async |world| {
        let mut spec = world.site("shop", "fresh");
        spec["tls"] = json!({"mode": "SelfSigned", "validity": "40s", "renewBefore": "28s"});
        world.create_ready("shop", spec).await?;
        let first = status(world, "shop-tls").await?;
        let renewed = world
            .eventually("a renewed certificate", async || {
                let now = status(world, "shop-tls").await?;
                ensure!(now.revision > first.revision, "{now:?}");
                Ok(now)
            })
            .await?;
        ensure!(renewed.serial_number != first.serial_number);
        ensure!(renewed.not_after > first.not_after);

        // Long enough to look at it in peace.
        let calm = json!({"tls": {"validity": "1h", "renewBefore": null}});
        world.change("shop", calm).await?;
        world
            .eventually("the new certificate to be served", async || {
                world.ready("shop").await?;
                let (served, kept) = (served(world, "shop").await?, kept(world, "shop-tls").await?);
                ensure!(served == kept, "{served} is served, {kept} is kept");
                Ok(())
            })
            .await?;
        world.event("shop-tls", "Issued").await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_certificate_that_cannot_be_is_told_and_fixed() -> Result<(), Failure> {
    scenario("badtls", async |world| {
        let mut spec = world.site("shop", "welcome");
        spec["tls"] = json!({"mode": "SelfSigned", "validity": "1h", "renewBefore": "2h"});
        world.create("shop", spec).await?;
        let words = world.fails("shop", CERTIFICATE_READY, "Refused").await?;
        ensure!(words.contains("renewBefore 2h0m0s"), "{words}");
        ensure!(
            world.pods("shop").await?.is_empty(),
            "served without a certificate"
        );

        world
            .change("shop", json!({"tls": {"renewBefore": "10m"}}))
            .await?;
        world.ready("shop").await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_lost_secret_is_issued_anew_and_a_renewal_can_be_asked_for() -> Result<(), Failure> {
    scenario("secrets", async |world| {
        let spec = CertificateSpec {
            secret_name: "mail".into(),
            dns_names: vec!["mail.example.com".into()],
            ..CertificateSpec::default()
        };
        let certificates = world.objects::<Certificate>();
        let certificate = Certificate::new("mail", spec);
        certificates
            .create(&PostParams::default(), &certificate)
            .await?;
        revision(world, "mail", 1).await?;

        world
            .objects::<Secret>()
            .delete("mail", &DeleteParams::default())
            .await?;
        revision(world, "mail", 2).await?;

        let renew = json!({"metadata": {"annotations": {"certs.podcov.dev/renew": "please"}}});
        certificates
            .patch("mail", &PatchParams::default(), &Patch::Merge(renew))
            .await?;
        revision(world, "mail", 3).await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_secret_of_somebody_else_is_not_touched() -> Result<(), Failure> {
    scenario("taken", async |world| {
        let password: Secret = serde_json::from_value(json!({
            "metadata": {"name": "mail"},
            "stringData": {"password": "hunter2"}
        }))?;
        world
            .objects::<Secret>()
            .create(&PostParams::default(), &password)
            .await?;
        let spec = CertificateSpec {
            secret_name: "mail".into(),
            dns_names: vec!["mail.example.com".into()],
            ..CertificateSpec::default()
        };
        let certificate = Certificate::new("mail", spec);
        world
            .objects()
            .create(&PostParams::default(), &certificate)
            .await?;
        world
            .eventually("the refusal to be told", async || {
                let status = status(world, "mail").await?;
                let reason = status.conditions.first().map(|c| c.reason.as_str());
                ensure!(reason == Some("SecretTaken"), "{status:?}");
                Ok(())
            })
            .await?;
        let kept = world.objects::<Secret>().get("mail").await?;
        ensure!(kept.data.unwrap_or_default().keys().eq(["password"]));
        Ok(())
    })
    .await
}

async fn status(world: &World, name: &str) -> Result<CertificateStatus> {
    let certificate = world.objects::<Certificate>().get(name).await?;
    certificate.status.context("no status yet")
}

async fn revision(world: &World, name: &str, wanted: i64) -> Result<()> {
    world
        .eventually(&format!("revision {wanted} of {name}"), async || {
            let status = status(world, name).await?;
            ensure!(status.revision == wanted && is_true(&status.conditions, "Ready", None));
            Ok(())
        })
        .await
}

/// Fingerprint of the certificate in a Secret.
async fn kept(world: &World, secret: &str) -> Result<String> {
    let secret = world.objects::<Secret>().get(secret).await?;
    let data = secret.data.unwrap_or_default();
    let pem = String::from_utf8(data.get("tls.crt").context("no certificate")?.0.clone())?;
    let base64: String = pem
        .lines()
        .filter(|line| !line.starts_with("---"))
        .collect();
    let digest = Sha256::digest(STANDARD.decode(base64)?);
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Fingerprint of the certificate that a website's web server uses.
async fn served(world: &World, site: &str) -> Result<String> {
    let pods = world.pods(site).await?;
    let pod = pods.keys().next().context("no pod")?;
    Ok(world.ask_pod(pod, 9090, "/certificate", None).await?.body)
}
