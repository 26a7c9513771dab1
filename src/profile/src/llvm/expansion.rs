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

    /// The branches that an expansion leads to, those of inner expansions in
    /// front, with the expansions that lead there.
    pub(crate) fn below(
        &self,
        expansion: &'c Region,
        path: &mut Vec<&'c Region>,
        found: &mut dyn FnMut(&'c Branch, &[&'c Region]),
    ) {
        path.push(expansion);
        for inner in Self::of(&self.expansions, expansion.expanded) {
            self.below(inner, path, found);
        }
        for branch in Self::of(&self.branches, expansion.expanded) {
            found(branch, path);
        }
        path.pop();
    }
}
