//! Regions within regions: what macros and includes expand to.

use super::counted::{Branch, Region, RegionKind};
use super::coverage::FunctionView;

/// Expansions and branches of a function by the file they are in. Nothing
/// expands twice to one file, and the mapping's reader bounds the depth, so
/// that going down from a function's own file ends.
pub(crate) struct Tree<'c> {
    expansions: Vec<Vec<&'c Region>>,
    branches: Vec<Vec<&'c Branch>>,
}

impl<'c> Tree<'c> {
    pub(crate) fn new(function: &FunctionView<'c>) -> Tree<'c> {
        let files = function.files().len();
        let mut tree = Tree {
            expansions: vec![Vec::new(); files],
            branches: vec![Vec::new(); files],
        };
        for region in function.regions() {
            if region.kind == RegionKind::Expansion
                && let Some(list) = tree.expansions.get_mut(region.file as usize)
            {
                list.push(region);
            }
        }
        for branch in function.branches() {
            if let Some(list) = tree.branches.get_mut(branch.region.file as usize) {
                list.push(branch);
            }
        }
        tree
    }

    fn of<T>(lists: &[Vec<T>], file: u32) -> &[T] {
        lists.get(file as usize).map_or(&[], Vec::as_slice)
    }

    /// The branches of a file and of what it expands to.
    pub(crate) fn within(&self, file: u32, found: &mut dyn FnMut(&'c Branch)) {
        Self::of(&self.branches, file).iter().for_each(|b| found(b));
        for expansion in Self::of(&self.expansions, file) {
            self.within(expansion.expanded, found);
        }
    }

    /// Goes down from an expansion: its inner expansions, then its branches.
    pub(crate) fn below(&self, expansion: &'c Region, step: &mut dyn FnMut(Step<'c>)) {
        step(Step::Enter(expansion));
        for inner in Self::of(&self.expansions, expansion.expanded) {
            self.below(inner, step);
        }
        for branch in Self::of(&self.branches, expansion.expanded) {
            step(Step::Branch(branch));
        }
        step(Step::Leave);
    }
}

/// What is met on the way through expansions.
pub(crate) enum Step<'c> {
    /// An expansion, and what it holds.
    Enter(&'c Region),
    /// A condition in the one that was entered last.
    Branch(&'c Branch),
    /// The end of the one that was entered last.
    Leave,
}
