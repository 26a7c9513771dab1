//! Whether two image references name the same image.

/// An image reference taken apart; `name` has its registry written out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reference<'a> {
    name: String,
    tag: Option<&'a str>,
    digest: Option<&'a str>,
}

impl<'a> Reference<'a> {
    pub(super) fn parse(text: &'a str) -> Self {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        // A colon before the last slash belongs to the registry's port.
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        Reference {
            name: with_registry(name),
            tag,
            digest,
        }
    }

    /// Whether a container that runs `image` runs what `self` asks for: the
    /// name has to be the same; tag and digest only where `self` gives one.
    pub(super) fn matches(&self, image: &str) -> bool {
        let image = Reference::parse(image);
        let tag = match self.tag {
            // Where a digest is given the tag says nothing; without both the
            // container runtime takes `latest`.
            Some(tag) => image.digest.is_some() && image.tag.is_none() || tag == image.tag(),
            None => true,
        };
        self.name == image.name && tag && self.digest.is_none_or(|own| image.digest == Some(own))
    }

    fn tag(&self) -> &str {
        self.tag.unwrap_or("latest")
    }
}

/// Writes out what container runtimes put before a short name.
fn with_registry(name: &str) -> String {
    match name.split_once('/') {
        Some((first, _)) if first == "localhost" || first.contains(['.', ':']) => name.to_owned(),
        Some(_) => format!("docker.io/{name}"),
        None => format!("docker.io/library/{name}"),
    }
}

/// Whether a container with `image` runs `asked`: the name has to be the same,
/// tag and digest only where `asked` gives one.
pub fn is_image(asked: &str, image: &str) -> bool {
    Reference::parse(asked).matches(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_must_agree_and_tags_only_where_given() {
        let digest = "@sha256:00";
        let cases = [
            ("localhost/op:dev", "localhost/op:dev", true),
            ("localhost/op:dev", "localhost/op:v1", false),
            ("localhost/op", "localhost/op:v1", true),
            ("localhost/op", "localhost/op", true),
            ("localhost/op:latest", "localhost/op", true),
            ("localhost/op:dev", "localhost/op", false),
            ("localhost/op", "localhost/op-profile:dev", false),
            ("registry:5000/op", "registry:5000/op:v1", true),
            ("registry:5000/op", "registry:5001/op:v1", false),
            ("op", "docker.io/library/op:1", true),
            ("org/op", "docker.io/org/op:1", true),
            ("org/op", "example.org/op:1", false),
            ("localhost/op", &format!("localhost/op:dev{digest}"), true),
            ("localhost/op:dev", &format!("localhost/op{digest}"), true),
            (
                "localhost/op:dev",
                &format!("localhost/op:v1{digest}"),
                false,
            ),
            (
                "localhost/op@sha256:00",
                &format!("localhost/op:dev{digest}"),
                true,
            ),
            ("localhost/op@sha256:01", "localhost/op@sha256:00", false),
            ("localhost/op@sha256:01", "localhost/op:dev", false),
        ];
        for (asked, image, expected) in cases {
            assert_eq!(
                Reference::parse(asked).matches(image),
                expected,
                "{asked} {image}"
            );
        }
    }
}
