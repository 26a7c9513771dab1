//! Functions of programs whose meta-data nobody has.

use std::collections::BTreeMap;
use std::path::Path;

use podcov_process::Run;
use podcov_profile::go::lines::Placed;
use podcov_profile::go::text::{Block, Profile, Span};
use podcov_profile::model::Function;

use crate::tools::find_go;
use crate::{Error, Work, write_atomic};

/// A text profile does not say where functions are; `go tool cover -func` finds
/// them in the bundle's sources.
pub(super) fn functions_from_source(
    work: &Work<'_>,
    profile: &Profile,
    files: &BTreeMap<&str, &str>,
) -> Result<BTreeMap<String, Vec<Placed>>, Error> {
    let src = work.bundle_dir.join("src");
    let src = src.canonicalize().unwrap_or(src);
    let mut by_path = BTreeMap::new();
    let mut local = Profile::new(profile.mode);
    for (file, name) in files {
        let path = src.join(name);
        if path.is_file() {
            let path = path.display().to_string();
            local
                .files
                .insert(path.clone(), profile.files[*file].clone());
            by_path.insert(path, *file);
        }
    }
    let mut placed = BTreeMap::new();
    if local.files.is_empty() {
        return Ok(placed);
    }
    let dir = tempfile::tempdir().map_err(Error::io("make", Path::new("a temporary folder")))?;
    let text = dir.path().join("profile.txt");
    write_atomic(&text, local.to_text().as_bytes())?;
    let done = Run::new(find_go()?)
        .args(["tool", "cover", "-func", "profile.txt"])
        .current_dir(dir.path())
        .env("GOWORK", "off")
        .env_remove("GOFLAGS")
        .cancel(work.cancel)
        .run()?;
    let mut starts: BTreeMap<&str, Vec<(u32, String)>> = BTreeMap::new();
    let text = done.text();
    for line in text.lines() {
        // `/path/file.go:12:<tabs>Name<tabs>50.0%`
        let Some((place, rest)) = line.split_once(":\t") else {
            continue;
        };
        let Some((path, number)) = place.rsplit_once(':') else {
            continue;
        };
        let (Some(file), Ok(number)) = (by_path.get(path), number.parse()) else {
            continue;
        };
        let name = rest
            .split('\t')
            .find(|word| !word.is_empty())
            .unwrap_or_default();
        starts
            .entry(file)
            .or_default()
            .push((number, name.to_owned()));
    }
    for (file, mut starts) in starts {
        starts.sort();
        let blocks = &profile.files[file];
        let ends = starts
            .iter()
            .skip(1)
            .map(|(next, _)| *next)
            .chain([u32::MAX]);
        let place =
            |((start, name), next): (&(u32, String), u32)| place(blocks, *start, next, name);
        placed.insert(
            file.to_owned(),
            starts.iter().zip(ends).filter_map(place).collect(),
        );
    }
    Ok(placed)
}

/// A function by its first line and that of the one behind it.
fn place(blocks: &BTreeMap<Span, Block>, start: u32, next: u32, name: &str) -> Option<Placed> {
    let mut own = blocks
        .keys()
        .filter(|span| span.start_line >= start && (span.start_line < next || start == next));
    let first = *own.next()?;
    let end = own.map(|span| span.end_line).fold(first.end_line, u32::max);
    let name = name.to_owned();
    let function = Function {
        name,
        start,
        end,
        ..Function::default()
    };
    Some(Placed { function, first })
}
