//! Counters and expressions of one function, as numbers.
//!
//! LLVM computes in signed 64 bits and prints a negative result as a huge
//! count. Here sums and differences are exact, and a region's count is what
//! fits: a negative one is 0 and a finding.

use super::regions::{Counter, Term};

/// Why a counter has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The profile has fewer counters than the mapping refers to.
    Missing { counter: u32 },
    /// An expression needs itself.
    Circle { expression: u32 },
}

#[derive(Clone, Copy, Debug)]
enum Known {
    No,
    Begun,
    Value(i128),
}

/// The values of one function; its buffers serve one after the other.
#[derive(Debug, Default)]
pub(crate) struct Evaluator {
    known: Vec<Known>,
    stack: Vec<Counter>,
}

impl Evaluator {
    /// Forgets the function before.
    pub(crate) fn begin(&mut self, expressions: usize) {
        self.known.clear();
        self.known.resize(expressions, Known::No);
    }

    /// The value of a counter, each expression being computed once. Without
    /// counters, those of a function that is not in the profile, all are 0.
    pub(crate) fn value(
        &mut self,
        counter: Counter,
        expressions: &[(Counter, Counter)],
        counters: Option<&[u64]>,
    ) -> Result<i128, Fault> {
        if let Some(value) = self.direct(counter, counters)? {
            return Ok(value);
        }
        self.stack.clear();
        self.stack.push(counter);
        while let Some(&top) = self.stack.last() {
            let (index, is_sum) = match top.term() {
                Term::Sum(index) => (index, true),
                Term::Difference(index) => (index, false),
                Term::Zero | Term::Counter(_) => {
                    self.stack.pop();
                    continue;
                }
            };
            let at = index as usize;
            let Some(&(left, right)) = expressions.get(at) else {
                return Err(Fault::Circle { expression: index });
            };
            let operands = (self.direct(left, counters)?, self.direct(right, counters)?);
            let value = match operands {
                (Some(left), Some(right)) if is_sum => left.saturating_add(right),
                (Some(left), Some(right)) => left.saturating_sub(right),
                (left_value, right_value) => {
                    if matches!(self.known.get(at), Some(Known::Begun)) {
                        // Its operands were asked for before, and need it.
                        return Err(Fault::Circle { expression: index });
                    }
                    self.set(at, Known::Begun);
                    if left_value.is_none() {
                        self.stack.push(left);
                    }
                    if right_value.is_none() && (right != left || left_value.is_some()) {
                        self.stack.push(right);
                    }
                    continue;
                }
            };
            self.set(at, Known::Value(value));
            self.stack.pop();
        }
        self.direct(counter, counters)
            .map(Option::unwrap_or_default)
    }

    fn set(&mut self, at: usize, value: Known) {
        if let Some(known) = self.known.get_mut(at) {
            *known = value;
        }
    }

    /// A value that is there already.
    fn direct(&self, counter: Counter, counters: Option<&[u64]>) -> Result<Option<i128>, Fault> {
        match (counter.term(), counters) {
            (Term::Zero, _) | (Term::Counter(_), None) => Ok(Some(0)),
            (Term::Counter(index), Some(counters)) => match counters.get(index as usize) {
                Some(count) => Ok(Some(i128::from(*count))),
                None => Err(Fault::Missing { counter: index }),
            },
            (Term::Sum(index) | Term::Difference(index), _) => {
                match self.known.get(index as usize) {
                    Some(Known::Value(value)) => Ok(Some(*value)),
                    _ => Ok(None),
                }
            }
        }
    }
}
