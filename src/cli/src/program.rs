//! Whether the profile images have the programs that the manifests start.

use podcov_cluster::overlay::{Patched, Programs};

use crate::config::{BuilderName, Component};
use crate::exit::{Exit, Failure};

/// What a command can start in the profile image of `component`; `None` where
/// a base or a Dockerfile brings what is not known here.
pub fn programs(component: &Component, entrypoint: &[String]) -> Option<Programs> {
    let typed = &component.image_build;
    if typed.base.is_some() || typed.builder != BuilderName::Podcov {
        return None;
    }
    let own = entrypoint.iter().position(|word| word == "--")?;
    Some(Programs {
        main: entrypoint.get(own + 1)?.clone(),
        files: typed.files.values().cloned().collect(),
    })
}

/// Says, before the pods fail with "no such file", that a manifest's
/// `command` starts what the profile image of `component` does not have.
pub fn check(
    component: &Component,
    entrypoint: &[String],
    patched: &Patched,
) -> Result<(), Failure> {
    let (Some(programs), Some(wanted)) = (programs(component, entrypoint), &patched.program) else {
        return Ok(());
    };
    if programs.have(wanted) {
        return Ok(());
    }
    let place = &programs.main;
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
