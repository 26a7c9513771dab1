//! Whether the profile images have the programs that the manifests start.

use podcov_cluster::overlay::Patched;

use crate::config::{BuilderName, Component};
use crate::exit::{Exit, Failure};

/// Says, before the pods fail with "no such file", that a manifest's
/// `command` starts what the profile image of `component` does not have.
pub fn check(
    component: &Component,
    entrypoint: &[String],
    patched: &Patched,
) -> Result<(), Failure> {
    let typed = &component.image_build;
    // What a base or a Dockerfile brings is not known here.
    if typed.base.is_some() || typed.builder != BuilderName::Podcov {
        return Ok(());
    }
    let own = entrypoint.iter().position(|word| word == "--");
    let place = own.and_then(|at| entrypoint.get(at + 1));
    let (Some(place), Some(wanted)) = (place, &patched.program) else {
        return Ok(());
    };
    // Variables are Kubernetes' to expand, relative paths the image's.
    if wanted.contains("$(") || wanted.starts_with('.') {
        return Ok(());
    }
    let fits = |path: &str| {
        path == wanted || (!wanted.contains('/') && path.rsplit('/').next() == Some(wanted))
    };
    if fits(place) || typed.files.values().any(|to| brings(to, wanted)) {
        return Ok(());
    }
    let name = component.name.get_ref();
    let Patched {
        kind,
        name: workload,
        container,
        ..
    } = patched;
    let failure = Failure::new(
        Exit::Usage,
        format!(
            "{kind}/{workload}, container {container}: its `command` starts `{wanted}`, which the \
             profile image of `{name}` does not have (the program is at `{place}`)"
        ),
    );
    const SHELLS: [&str; 6] = ["sh", "bash", "ash", "env", "tini", "dumb-init"];
    let last = wanted.rsplit('/').next().unwrap_or(wanted);
    Err(failure.help(if SHELLS.contains(&last) {
        format!(
            "give the component a base that has it: `image_build = {{ base = \"layout-or-archive\" }}`, \
             or leave out `command` of container {container} in an overlay of your own"
        )
    } else if wanted.starts_with('/') {
        format!("add to the component: `image_build = {{ program = \"{wanted}\" }}`")
    } else {
        format!("add to the component: `image_build = {{ program = \"/app/{wanted}\" }}`")
    }))
}

/// Whether a file or folder that goes to `to` may bring `wanted`.
fn brings(to: &str, wanted: &str) -> bool {
    let to = to.trim_end_matches('/');
    !wanted.contains('/')
        || wanted
            .strip_prefix(to)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_with(image_build: &str, command: &str) -> Result<(), Failure> {
        let text = format!(
            "[composition]\nname = \"c\"\n[[component]]\nname = \"memcached\"\nlanguage = \"go\"\n\
             image_build = {{ {image_build} }}\n"
        );
        let file: crate::config::File = toml::from_str(&text).unwrap();
        let patched = Patched {
            kind: "Deployment".into(),
            name: "controller-manager".into(),
            namespace: None,
            container: "manager".into(),
            component: "memcached".into(),
            was_image: "controller".into(),
            now_image: "controller-profile".into(),
            command_wrapped: true,
            program: Some(command.into()),
        };
        let entrypoint: Vec<String> = ["/podcov/launcher", "--", "/app/memcached", "--x"]
            .map(str::to_owned)
            .into();
        check(&file.components[0], &entrypoint, &patched)
    }

    #[test]
    fn a_command_that_the_image_lacks_is_told_with_the_remedy() {
        let failure = check_with("", "/manager").unwrap_err();
        assert!(
            failure.message.contains("`/manager`"),
            "{}",
            failure.message
        );
        assert!(failure.help.unwrap().contains("program = \"/manager\""));
        let failure = check_with("", "/bin/sh").unwrap_err();
        assert!(failure.help.unwrap().contains("base"));
        let failure = check_with("", "manager").unwrap_err();
        assert!(failure.help.unwrap().contains("\"/app/manager\""));
    }

    #[test]
    fn commands_that_fit_or_cannot_be_known_pass() {
        for command in ["/app/memcached", "memcached", "$(PROGRAM)", "./memcached"] {
            check_with("", command).unwrap();
        }
        check_with("base = \"production.tar\"", "/manager").unwrap();
        check_with("builder = \"docker\"", "/manager").unwrap();
        check_with("files = { bin = \"/usr/bin\" }", "/usr/bin/tool").unwrap();
        check_with("files = { bin = \"/usr/bin\" }", "/usr/binary").unwrap_err();
    }
}
