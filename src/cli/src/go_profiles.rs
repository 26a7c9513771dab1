//! The merged text profiles that the merge left, for `coverage.out`.

use podcov_profile::go::text::Profile;
use podcov_profile::model::Coverage;
use podcov_profile::names::Language;
use podcov_report::GoProfile;

use crate::exit::{Exit, Failure, OrExit};
use crate::session::Session;

/// Reads `coverage/<component>/<identity>/profile.txt` of every Go build.
pub fn read(session: &Session, coverage: &Coverage) -> Result<Vec<GoProfile>, Failure> {
    let mut profiles = Vec::new();
    for component in coverage
        .components
        .iter()
        .filter(|c| c.language == Language::Go)
    {
        for binary in &component.binaries {
            let dir = session
                .run
                .coverage()
                .join(&component.name)
                .join(binary.identity.dir_name());
            let path = dir.join("profile.txt");
            // Of a build that left nothing, and of which no meta-data are
            // known, there is none.
            if binary.profiles == 0 && !path.exists() {
                continue;
            }
            let bytes = fs_err::read(&path).or_exit(Exit::Fault)?;
            let profile = Profile::parse(&bytes).or_exit(Exit::Fault)?;
            profiles.push(GoProfile {
                component: component.name.clone(),
                profile,
            });
        }
    }
    Ok(profiles)
}
