//! Names of images.

/// What production calls an image, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    /// With registry and path, as written.
    name: String,
    tag: String,
}

impl Reference {
    /// The name of the image that is measured: `NAME:TAG` becomes
    /// `NAME-profile:TAG`. A digest names what cannot be the same any more and
    /// is left out; no tag is `latest`, as for everyone else.
    pub(crate) fn measured(production: &str) -> Result<Self, String> {
        let (text, _digest) = match production.split_once('@') {
            Some((text, digest)) => (text, Some(digest)),
            None => (production, None),
        };
        // A colon before the last slash belongs to the registry's port.
        let path = text.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match text[path..].rfind(':') {
            Some(colon) => (&text[..path + colon], &text[path + colon + 1..]),
            None => (text, "latest"),
        };
        let component = |part: &str| {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
            let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
            part.chars().all(plain) && ends(part.chars().next()) && ends(part.chars().last())
        };
        let mut parts = name.split('/');
        let first = parts.next().unwrap_or_default();
        let host = |text: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
            text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[')
                && text.chars().all(plain)
        };
        let first_good = component(first) || (name.contains('/') && host(first));
        let tag_good = !tag.is_empty()
            && tag.len() <= 128
            && tag
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
            && !tag.starts_with(['.', '-']);
        if !first_good || !parts.all(component) || !tag_good {
            return Err(format!(
                "expected the name of an image like `registry.example/team/operator:1.0`, found \
                 `{production}`"
            ));
        }
        Ok(Reference {
            name: format!("{name}-profile"),
            tag: tag.to_owned(),
        })
    }

    /// A name of podcov's own, which is known to be one: `registry/name:tag`.
    pub(crate) fn exactly(text: &str) -> Self {
        let (name, tag) = text.rsplit_once(':').unwrap_or((text, "latest"));
        Reference {
            name: name.to_owned(),
            tag: tag.to_owned(),
        }
    }

    /// The tag.
    pub(crate) fn tag(&self) -> &str {
        &self.tag
    }

    /// As containerd's store calls it, with the registry that is left out.
    pub(crate) fn full(&self) -> String {
        let registry = self
            .name
            .split_once('/')
            .is_some_and(|(first, _)| first.contains(['.', ':']) || first == "localhost");
        match (registry, self.name.contains('/')) {
            (true, _) => self.to_string(),
            (false, true) => format!("docker.io/{self}"),
            (false, false) => format!("docker.io/library/{self}"),
        }
    }
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.name, self.tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_measured_image_never_has_the_name_of_the_production_image() {
        let digest = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
        let cases = [
            (
                "localhost/op:dev",
                "localhost/op-profile:dev",
                "localhost/op-profile:dev",
            ),
            (
                "op",
                "op-profile:latest",
                "docker.io/library/op-profile:latest",
            ),
            (
                "team/op:1.2",
                "team/op-profile:1.2",
                "docker.io/team/op-profile:1.2",
            ),
            (
                "host:5000/a/op",
                "host:5000/a/op-profile:latest",
                "host:5000/a/op-profile:latest",
            ),
            (
                "r.io/op:v1@DIGEST",
                "r.io/op-profile:v1",
                "r.io/op-profile:v1",
            ),
            (
                "r.io/op@DIGEST",
                "r.io/op-profile:latest",
                "r.io/op-profile:latest",
            ),
            (
                "op-profile:x",
                "op-profile-profile:x",
                "docker.io/library/op-profile-profile:x",
            ),
        ];
        for (production, ours, full) in cases {
            let production = production.replace("DIGEST", digest);
            let reference = Reference::measured(&production).unwrap();
            assert_eq!(reference.to_string(), ours);
            assert_eq!(reference.full(), full);
            assert_ne!(reference.to_string(), production);
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in [
            "", "Op:dev", "a//b", "op:", "op:a b", "../x", "-op", "op/:x", "op:-x",
        ] {
            assert!(
                Reference::measured(text).unwrap_err().contains("expected"),
                "{text}"
            );
        }
    }
}
