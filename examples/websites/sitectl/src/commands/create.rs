//! New websites: from words, from a file, and the first one of an installation.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams, PostParams};
use serde::Deserialize;
use serde_json::{Value, json};
use website_api::{Content, Header, Redirect, Rollout, Tls, TlsMode, Website, WebsiteSpec};

use super::wait;
use crate::cli::{Create, State};
use crate::connect::{Connection, plainly};

/// Makes a website.
pub async fn create(at: &Connection, wish: &Create) -> anyhow::Result<()> {
    let site = Website::new(&wish.name, specification(wish, read)?);
    if wish.dry_run {
        print!("{}", serde_yaml_ng::to_string(&site)?);
        return Ok(());
    }
    at.websites()
        .create(&PostParams::default(), &site)
        .await
        .map_err(plainly)
        .with_context(|| format!("could not make website {}", wish.name))?;
    println!("website {} made", wish.name);
    if wish.wait {
        wait::wait(at, &wish.name, State::Ready, Duration::from_secs(60)).await?;
    }
    Ok(())
}

fn specification(
    wish: &Create,
    read: impl Fn(&str) -> anyhow::Result<String>,
) -> anyhow::Result<WebsiteSpec> {
    let mut pages: BTreeMap<String, String> = wish.pages.iter().cloned().collect();
    for (path, file) in &wish.page_files {
        pages.insert(path.clone(), read(file)?);
    }
    let redirect = |(from, to): &(String, String)| Redirect {
        from: from.clone(),
        to: to.clone(),
        permanent: false,
    };
    let header = |(name, value): &(String, String)| Header {
        name: name.clone(),
        value: value.clone(),
    };
    Ok(WebsiteSpec {
        host: wish.host.clone(),
        replicas: wish.replicas,
        content: Content {
            title: wish.title.clone(),
            pages,
            redirects: wish.redirects.iter().map(redirect).collect(),
            headers: wish.headers.iter().map(header).collect(),
        },
        tls: Tls {
            mode: if wish.tls {
                TlsMode::SelfSigned
            } else {
                TlsMode::Disabled
            },
            validity: wish.validity.clone(),
            renew_before: None,
        },
        rollout: Rollout::default(),
        maintenance: false,
    })
}

fn read(file: &str) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("could not read {file}"))
}

/// Makes or changes the websites of a file.
pub async fn apply(at: &Connection, file: &Path) -> anyhow::Result<()> {
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin()
            .read_to_string(&mut text)
            .context("could not read standard input")?;
    } else {
        text = read(&file.display().to_string())?;
    }
    let sites = documents(&text).with_context(|| format!("could not read {}", file.display()))?;
    anyhow::ensure!(!sites.is_empty(), "no website in {}", file.display());
    for site in sites {
        let name = site["metadata"]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let params = PatchParams::apply("sitectl").force();
        let made = at
            .websites()
            .patch(&name, &params, &Patch::Apply(&site))
            .await
            .map_err(plainly)
            .with_context(|| format!("could not apply website {name}"))?;
        let word = if made.metadata.generation == Some(1) {
            "made"
        } else {
            "changed"
        };
        println!("website {} {word}", made.name_any());
    }
    Ok(())
}

fn documents(text: &str) -> anyhow::Result<Vec<Value>> {
    let mut sites = Vec::new();
    for document in serde_yaml_ng::Deserializer::from_str(text) {
        let value = Value::deserialize(document)?;
        if value.is_null() {
            continue;
        }
        let (version, kind) = (&value["apiVersion"], &value["kind"]);
        anyhow::ensure!(
            version == "web.podcov.dev/v1" && kind == "Website",
            "expected a Website of web.podcov.dev/v1, found a {kind} of {version}"
        );
        anyhow::ensure!(
            value["metadata"]["name"].is_string(),
            "a website has no name"
        );
        sites.push(value);
    }
    Ok(sites)
}

/// Makes the first website of an installation, or leaves it as it is.
pub async fn seed(at: &Connection, name: &str, host: &str) -> anyhow::Result<()> {
    let site = json!({
        "apiVersion": "web.podcov.dev/v1",
        "kind": "Website",
        "metadata": {"name": name},
        "spec": {
            "host": host,
            "content": {
                "title": "Welcome",
                "pages": {"/": "<h1>Welcome</h1><p>Websites can be made here.</p>"},
                "redirects": [{"from": "/home", "to": "/"}]
            }
        }
    });
    let site: Website = serde_json::from_value(site)?;
    match at.websites().create(&PostParams::default(), &site).await {
        Ok(_) => println!("website {name} made"),
        Err(kube::Error::Api(status)) if status.code == 409 => {
            println!("website {name} is there already");
        }
        Err(error) => {
            let what = format!("could not make website {name}");
            return Err(plainly(error)).context(what);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Arguments, Command};

    #[test]
    fn words_become_a_specification() {
        let words = "sitectl create a --host a.b.c --page /=hi --page-file /x=f --redirect /o=/ \
                     --header X-A=1 --tls --validity 1h --replicas 2";
        let arguments = Arguments::try_parse_from(words.split_whitespace()).expect("valid");
        let Command::Create(wish) = arguments.command else {
            panic!("not a create");
        };
        let spec = specification(&wish, |file| Ok(format!("text of {file}"))).unwrap();
        assert_eq!(spec.content.pages["/x"], "text of f");
        assert_eq!(spec.content.redirects[0].to, "/");
        assert_eq!((spec.tls.mode, spec.replicas), (TlsMode::SelfSigned, 2));
    }

    #[test]
    fn a_file_may_hold_several_websites_and_nothing_else() {
        let one = "apiVersion: web.podcov.dev/v1\nkind: Website\nmetadata: {name: a}\n";
        assert_eq!(
            documents(&format!("{one}---\n{one}---\n")).unwrap().len(),
            2
        );
        let error = documents("apiVersion: v1\nkind: Pod\n").unwrap_err();
        assert!(error.to_string().contains("Pod"), "{error}");
        assert!(documents("apiVersion: web.podcov.dev/v1\nkind: Website\n").is_err());
    }
}
