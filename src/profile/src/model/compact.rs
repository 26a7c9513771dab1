//! What there are many of, as arrays.

use std::fmt;

use serde::de::{Error as _, SeqAccess, Unexpected, Visitor};
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Branch, Instance, Region, RegionKind};

impl RegionKind {
    /// As `llvm-cov export` numbers them (`CounterMappingRegion::RegionKind`,
    /// LLVM 22).
    fn number(self) -> u8 {
        match self {
            RegionKind::Code => 0,
            RegionKind::Expansion => 1,
            RegionKind::Skipped => 2,
            RegionKind::Gap => 3,
        }
    }

    fn of_number(number: u64) -> Option<Self> {
        Some(match number {
            0 => RegionKind::Code,
            1 => RegionKind::Expansion,
            2 => RegionKind::Skipped,
            3 => RegionKind::Gap,
            _ => return None,
        })
    }
}

impl Serialize for Region {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let length = match (self.kind, self.statements) {
            (RegionKind::Code, 0) => 5,
            (RegionKind::Code, _) => 6,
            _ => 7,
        };
        let mut array = serializer.serialize_seq(Some(length))?;
        array.serialize_element(&self.start_line)?;
        array.serialize_element(&self.start_column)?;
        array.serialize_element(&self.end_line)?;
        array.serialize_element(&self.end_column)?;
        array.serialize_element(&self.count)?;
        if length > 5 {
            array.serialize_element(&self.statements)?;
        }
        if length > 6 {
            array.serialize_element(&self.kind.number())?;
        }
        array.end()
    }
}

impl<'de> Deserialize<'de> for Region {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Array;
        impl<'de> Visitor<'de> for Array {
            type Value = Region;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("[line, column, line, column, count, statements, kind]")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Region, A::Error> {
                let short = |length| A::Error::invalid_length(length, &Array);
                let mut place = [0u32; 4];
                for (index, number) in place.iter_mut().enumerate() {
                    *number = seq.next_element()?.ok_or_else(|| short(index))?;
                }
                let [start_line, start_column, end_line, end_column] = place;
                let count = seq.next_element()?.ok_or_else(|| short(4))?;
                let statements = seq.next_element()?.unwrap_or(0);
                let kind: u64 = seq.next_element()?.unwrap_or(0);
                let kind = RegionKind::of_number(kind).ok_or_else(|| {
                    A::Error::invalid_value(Unexpected::Unsigned(kind), &"a kind from 0 to 3")
                })?;
                Ok(Region {
                    start_line,
                    start_column,
                    end_line,
                    end_column,
                    kind,
                    statements,
                    count,
                })
            }
        }
        deserializer.deserialize_seq(Array)
    }
}

impl Serialize for Branch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let place = [
            self.start_line,
            self.start_column,
            self.end_line,
            self.end_column,
        ];
        let [start_line, start_column, end_line, end_column] = place;
        let (taken, not_taken) = (self.taken, self.not_taken);
        (
            start_line,
            start_column,
            end_line,
            end_column,
            taken,
            not_taken,
        )
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Branch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (start_line, start_column, end_line, end_column, taken, not_taken) =
            Deserialize::deserialize(deserializer)?;
        Ok(Branch {
            start_line,
            start_column,
            end_line,
            end_column,
            taken,
            not_taken,
        })
    }
}

impl Serialize for Instance {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.name, self.count).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Instance {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (name, count) = Deserialize::deserialize(deserializer)?;
        Ok(Instance { name, count })
    }
}
