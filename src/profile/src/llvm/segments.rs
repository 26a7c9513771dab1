//! From regions to segments: the places in a file where the count changes.
//!
//! The rule is LLVM's (`SegmentBuilder` in `CoverageMapping.cpp`, LLVM 22), so
//! that segments, and lines with them, are those of llvm-cov:
//! 1. Regions are ordered by start, then by end with the larger first, then by
//!    kind. Of those that span the same, the counts of the first one's kind
//!    are added up.
//! 2. A sweep from the first start to the last end keeps the regions that are
//!    open. Where one starts a segment begins, unless another starts at the
//!    same place, which then is inside. Where some end, a segment gives back
//!    the count of what is still open: of the region that ends next, of those
//!    that end before the next start, else of the last one that was opened
//!    and stays open.
//! 3. Where nothing stays open a segment without count begins.
//! 4. A region without length does not open; it marks a place.
//! 5. A segment that gives back the count that is in force is left out.
//!
//! LLVM looks through all open regions at each start; here they wait in a heap
//! by their end, so that deep nesting costs no more than sorting.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::counted::{Region, RegionKind};
use super::export::Segment;

/// A line and a column, the line above.
type Place = u64;

fn place((line, column): (u32, u32)) -> Place {
    u64::from(line) << 32 | u64::from(column)
}

/// What the sweep needs of a region.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: Place,
    end: Place,
    count: u64,
    kind: RegionKind,
}

/// Makes segments; its buffers serve one file or function after the other.
#[derive(Debug, Default)]
pub(crate) struct Sweep {
    spans: Vec<Span>,
    /// Open regions in the order they were opened, with those that ended and
    /// are not at the top yet.
    open: Vec<u32>,
    /// The same by their end, those of one end in the order they were opened;
    /// the index is that into `open`'s order of opening.
    by_end: BinaryHeap<Reverse<(Place, u32)>>,
    ended: Vec<u32>,
    is_open: Vec<bool>,
    segments: Vec<Segment>,
}

impl Sweep {
    /// The segments of some regions of one file.
    pub(crate) fn segments<'r>(&mut self, regions: impl Iterator<Item = &'r Region>) -> &[Segment] {
        self.spans.clear();
        self.spans.extend(regions.map(|region| Span {
            start: place(region.start()),
            end: place(region.end()),
            count: region.count,
            kind: region.kind,
        }));
        let order = |span: &Span| (span.start, Reverse(span.end), span.kind);
        if !self.spans.is_sorted_by_key(order) {
            self.spans.sort_unstable_by_key(order);
        }
        self.combine();
        self.sweep();
        &self.segments
    }

    /// The same, without keeping them.
    pub(crate) fn take_segments<'r>(
        &mut self,
        regions: impl Iterator<Item = &'r Region>,
    ) -> Vec<Segment> {
        self.segments(regions);
        std::mem::take(&mut self.segments)
    }

    fn combine(&mut self) {
        self.spans.dedup_by(|next, first| {
            let same = (first.start, first.end) == (next.start, next.end);
            if same && first.kind == next.kind {
                first.count = first.count.saturating_add(next.count);
            }
            same
        });
    }

    fn sweep(&mut self) {
        self.open.clear();
        self.by_end.clear();
        self.is_open.clear();
        self.segments.clear();
        self.is_open.resize(self.spans.len(), false);
        let spans = std::mem::take(&mut self.spans);
        for (index, span) in spans.iter().enumerate() {
            self.close(&spans, Some(span.start));
            let next = spans.get(index + 1);
            let is_gap = span.kind == RegionKind::Gap;
            if span.start == span.end {
                let is_skipped = next.is_none() || span.kind == RegionKind::Skipped;
                let around = self.top(&spans);
                self.emit(around.unwrap_or(span), span.start, !is_gap, is_skipped);
                if let Some(around) = around.filter(|_| is_skipped) {
                    self.emit(around, span.start, false, false);
                }
                continue;
            }
            if next.is_none_or(|next| next.start != span.start) {
                self.emit(span, span.start, !is_gap, false);
            }
            self.open.push(index as u32);
            self.by_end.push(Reverse((span.end, index as u32)));
            if let Some(is_open) = self.is_open.get_mut(index) {
                *is_open = true;
            }
        }
        self.close(&spans, None);
        self.spans = spans;
    }

    /// The region that was opened last of those that are open.
    fn top<'s>(&mut self, spans: &'s [Span]) -> Option<&'s Span> {
        while let Some(index) = self.open.last() {
            if self.is_open.get(*index as usize) == Some(&true) {
                return spans.get(*index as usize);
            }
            self.open.pop();
        }
        None
    }

    /// Closes the regions that end up to `until`, all without it.
    fn close(&mut self, spans: &[Span], until: Option<Place>) {
        self.ended.clear();
        while let Some(Reverse((end, index))) = self.by_end.peek() {
            if until.is_some_and(|until| *end > until) {
                break;
            }
            self.ended.push(*index);
            if let Some(is_open) = self.is_open.get_mut(*index as usize) {
                *is_open = false;
            }
            self.by_end.pop();
        }
        let ended = std::mem::take(&mut self.ended);
        let end_of = |index: &u32| spans.get(*index as usize).map(|span| span.end);
        let mut before: Option<Place> = None;
        for group in ended.chunk_by(|one, other| end_of(one) == end_of(other)) {
            let Some(last) = group.last().and_then(|index| spans.get(*index as usize)) else {
                continue;
            };
            if let Some(before) = before {
                self.emit(last, before, false, false);
            }
            before = Some(last.end);
        }
        let last = ended.last().and_then(|index| spans.get(*index as usize));
        if let Some(last) = last
            && until != Some(last.end)
        {
            match self.top(spans) {
                Some(top) => self.emit(top, last.end, false, false),
                None => self.emit(last, last.end, false, true),
            }
        }
        self.ended = ended;
    }

    fn emit(&mut self, span: &Span, at: Place, is_entry: bool, is_skipped: bool) {
        let has_count = !is_skipped && span.kind != RegionKind::Skipped;
        if let Some(last) = self.segments.last()
            && !is_entry
            && !is_skipped
            && !last.is_entry
            && last.has_count == has_count
            && last.count == span.count
        {
            return;
        }
        self.segments.push(Segment {
            line: (at >> 32) as u32,
            column: at as u32,
            count: if has_count { span.count } else { 0 },
            has_count,
            is_entry,
            is_gap: has_count && span.kind == RegionKind::Gap,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use RegionKind::{Code, Expansion, Gap, Skipped};

    type Row = ((u32, u32), (u32, u32), u64, RegionKind);

    fn regions(rows: &[Row]) -> Vec<Region> {
        let region = |&(start, end, count, kind): &Row| Region {
            start_line: start.0,
            start_column: start.1,
            end_line: end.0,
            end_column: end.1,
            count,
            file: 0,
            expanded: 0,
            kind,
        };
        rows.iter().map(region).collect()
    }

    fn check(rows: &[Row], expected: &str) {
        let mut sweep = Sweep::default();
        let text: Vec<String> = sweep
            .segments(regions(rows).iter())
            .iter()
            .map(|s| {
                let count = if s.has_count {
                    s.count.to_string()
                } else {
                    "-".to_owned()
                };
                let entry = if s.is_entry { "+" } else { "" };
                let gap = if s.is_gap { "g" } else { "" };
                format!("{}:{}{entry}{gap}={count}", s.line, s.column)
            })
            .collect();
        assert_eq!(text.join(" "), expected);
    }

    #[test]
    fn counts_come_back_where_regions_end() {
        check(
            &[
                ((1, 1), (9, 2), 5, Code),
                ((2, 3), (4, 4), 2, Code),
                ((5, 1), (5, 1), 7, Code),
                ((6, 3), (9, 2), 1, Code),
            ],
            "1:1+=5 2:3+=2 4:4=5 5:1+=5 6:3+=1 9:2=-",
        );
    }

    #[test]
    fn equal_spans_add_up_by_kind() {
        check(
            &[
                ((1, 1), (1, 9), 5, Code),
                ((1, 1), (1, 9), 2, Code),
                ((1, 1), (1, 9), 4, Expansion),
            ],
            "1:1+=7 1:9=-",
        );
        check(
            &[
                ((1, 1), (1, 9), 1, Expansion),
                ((1, 1), (1, 9), 2, Expansion),
            ],
            "1:1+=3 1:9=-",
        );
    }

    #[test]
    fn regions_need_not_nest() {
        check(
            &[
                ((1, 1), (3, 1), 1, Code),
                ((2, 1), (5, 1), 2, Code),
                ((2, 5), (4, 1), 3, Code),
                ((7, 1), (8, 1), 4, Gap),
                ((7, 1), (7, 5), 6, Skipped),
            ],
            "1:1+=1 2:1+=2 2:5+=3 3:1=3 4:1=2 5:1=- 7:1+=- 7:5g=4 8:1=-",
        );
    }

    #[test]
    fn deep_nesting_gives_every_count_back() {
        let many = 50_000;
        let mut rows: Vec<Row> = (0..many)
            .map(|i| ((i + 1, 1), (4 * many, many - i), u64::from(i), Code))
            .collect();
        rows.extend((0..many).map(|i| ((many + i + 2, 1), (many + i + 2, 9), 7, Code)));
        assert_eq!(
            Sweep::default().segments(regions(&rows).iter()).len(),
            200_000
        );
    }
}
