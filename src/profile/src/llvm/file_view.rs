//! One source file: what all functions say of it.

use super::counted::{Branch, Region, RegionKind};
use super::coverage::{Coverage, FunctionView};
use super::export::{Segment, lines};
use super::mcdc::Decision;
use super::segments::Sweep;
use crate::model::Line;

/// A source file with everything that functions say of it.
#[derive(Clone, Debug)]
pub struct FileView<'c> {
    /// Places where the count changes.
    pub segments: Vec<Segment>,
    /// Conditions in it.
    pub branches: Vec<&'c Branch>,
    /// Decisions in it.
    pub decisions: Vec<&'c Decision>,
    /// Uses of macros, and includes, in functions that are written in it.
    pub expansions: Vec<Expansion<'c>>,
}

/// The use of a macro, or an include.
#[derive(Clone, Copy, Debug)]
pub struct Expansion<'c> {
    /// Where it is, and what it expands to.
    pub region: &'c Region,
    /// The function it is part of.
    pub function: FunctionView<'c>,
}

impl FileView<'_> {
    /// The lines that have code.
    pub fn lines(&self) -> Vec<Line> {
        lines(&self.segments)
    }
}

impl Coverage {
    /// What functions say of a file.
    pub fn file(&self, file: u32) -> FileView<'_> {
        let mut view = FileView {
            segments: Vec::new(),
            branches: Vec::new(),
            decisions: Vec::new(),
            expansions: Vec::new(),
        };
        let mut regions: Vec<&Region> = Vec::new();
        for (function, position) in self.parts_of(file) {
            let here = function.regions_in(position);
            regions.extend(here);
            if function.main_file() == Some(position) && function.files().len() > 1 {
                let expansions = here.iter().filter(|r| r.kind == RegionKind::Expansion);
                let expansions = expansions.map(|region| Expansion { region, function });
                view.expansions.extend(expansions);
            }
            view.branches.extend(function.branches_in(position));
        }
        for function in self.functions_of(file) {
            let is_here =
                |d: &&Decision| function.files().get(d.region.file as usize) == Some(&file);
            view.decisions
                .extend(function.decisions().iter().filter(is_here));
        }
        let mut sweep = Sweep::default();
        view.segments = sweep.take_segments(regions.into_iter());
        view
    }
}
