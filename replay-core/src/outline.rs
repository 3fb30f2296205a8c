//! The shape of a saga: what its fingerprint covers and what a stored history needs to name its steps.

use std::{collections::HashMap, fmt, ops::Range, sync::Arc};

use bytes::Bytes;
use serde::{Deserialize, Serialize, Serializer, ser::SerializeSeq};

use crate::{Digest, Error, ErrorKind, Result};

/// The most steps that one saga may have.
pub const MAX_STEPS: usize = 1_000_000;

/// A saga's name, version and steps with their order and flags, without its code.
///
/// Two definitions with the same outline have the same [fingerprint](Outline::fingerprint). A snapshot names steps by
/// their index here, so that its size does not grow with the number of completed steps; a store keeps each outline once.
pub struct Outline {
    body: Body,
    by_name: HashMap<Arc<str>, u32>,
    bytes: Bytes,
    fingerprint: Digest,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    name: Arc<str>,
    steps: Vec<OutlineStep>,
    version: Arc<str>,
}

/// One step of an [`Outline`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct OutlineStep {
    /// Whether the step has a compensation.
    #[serde(rename = "compensation")]
    pub has_compensation: bool,
    /// The step's name, unique in its saga.
    pub name: Arc<str>,
    /// Indices of the steps that must be completed before this one; each is smaller than this step's own.
    pub needs: Vec<u32>,
    /// Whether the step is irreversible.
    pub pivot: bool,
}

impl OutlineStep {
    /// A step without compensation that is no pivot.
    pub fn new(name: impl Into<Arc<str>>, needs: Vec<u32>) -> Self {
        Self { has_compensation: false, name: name.into(), needs, pivot: false }
    }
}

impl Outline {
    /// Checks and takes a definition's shape.
    ///
    /// # Errors
    /// `Invalid` for an empty name, a name used twice, a step that needs itself or a later one; `LimitExceeded` beyond
    /// [`MAX_STEPS`].
    pub fn new(name: impl Into<Arc<str>>, version: impl Into<Arc<str>>, steps: Vec<OutlineStep>) -> Result<Self> {
        let body = Body { name: name.into(), steps, version: version.into() };
        let bytes = serde_json::to_vec(&body).map_err(|e| Error::new(ErrorKind::Internal, "define saga").caused_by(e))?;
        Self::build(body, bytes.into())
    }

    /// Reads what [`as_bytes`](Outline::as_bytes) wrote.
    ///
    /// # Errors
    /// `Integrity` if the bytes are not an outline.
    pub fn from_bytes(bytes: Bytes) -> Result<Self> {
        let body = serde_json::from_slice(&bytes)
            .map_err(|e| Error::new(ErrorKind::Integrity, "decode outline").message("not an outline").caused_by(e))?;
        Self::build(body, bytes)
    }

    fn build(body: Body, bytes: Bytes) -> Result<Self> {
        let wrong = |message: String| Error::invalid("define saga", message);
        if body.name.is_empty() || body.name.len() > crate::MAX_ID_BYTES {
            return Err(wrong("a saga's name has 1 to 255 bytes".into()));
        }
        if body.steps.len() > MAX_STEPS {
            return Err(Error::new(ErrorKind::LimitExceeded, "define saga").with("steps", body.steps.len()).with("limit", MAX_STEPS));
        }
        let mut by_name = HashMap::with_capacity(body.steps.len());
        for (index, step) in (0_u32..).zip(&body.steps) {
            if step.name.is_empty() || step.name.len() > crate::MAX_ID_BYTES || step.name.chars().any(char::is_control) {
                return Err(wrong(format!("step {} needs a name of 1 to 255 bytes without control characters", index + 1)));
            }
            if by_name.insert(step.name.clone(), index).is_some() {
                return Err(wrong(format!("two steps are named `{}`", step.name)));
            }
            if let Some(need) = step.needs.iter().find(|need| **need >= index) {
                return Err(wrong(format!("step `{}` needs step number {}, which does not come before it", step.name, need + 1)));
            }
        }
        let fingerprint = Digest::of_parts([b"replay-outline/v1".as_slice(), &bytes]);
        Ok(Self { body, by_name, bytes, fingerprint })
    }

    /// The saga's name.
    pub fn name(&self) -> &Arc<str> {
        &self.body.name
    }

    /// The saga's version.
    pub fn version(&self) -> &Arc<str> {
        &self.body.version
    }

    /// The steps in the order of their definition.
    pub fn steps(&self) -> &[OutlineStep] {
        &self.body.steps
    }

    /// The step at `index`, if there is one.
    pub fn step(&self, index: u32) -> Option<&OutlineStep> {
        self.body.steps.get(index as usize)
    }

    /// The index of the step named `name`.
    pub fn index_of(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    /// The canonical bytes: JSON with sorted keys and without white space.
    pub fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// SHA-256 over the canonical bytes.
    pub fn fingerprint(&self) -> Digest {
        self.fingerprint
    }
}

impl fmt::Debug for Outline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Outline({} v{}, {} steps)", self.body.name, self.body.version, self.body.steps.len())
    }
}

impl PartialEq for Outline {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for Outline {}

/// Indices of steps in an order that matters, such as that of their completion, kept as ranges.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct StepRanges(Vec<Range<u32>>);

impl StepRanges {
    /// Just `index`.
    pub fn one(index: u32) -> Self {
        Self::from_iter([index])
    }

    /// Adds `index` at the end.
    pub fn push(&mut self, index: u32) {
        match self.0.last_mut() {
            Some(last) if last.end == index => last.end += 1,
            _ => self.0.push(index..index + 1),
        }
    }

    /// Takes `index` out; the others keep their order.
    pub fn remove(&mut self, index: u32) {
        let Some(at) = self.0.iter().position(|r| r.contains(&index)) else { return };
        let Range { start, end } = self.0[at].clone();
        let rest = [start..index, index + 1..end].into_iter().filter(|r| !r.is_empty());
        self.0.splice(at..=at, rest);
    }

    /// Whether `index` is in it.
    pub fn contains(&self, index: u32) -> bool {
        self.0.iter().any(|r| r.contains(&index))
    }

    /// How many indices there are.
    pub fn len(&self) -> usize {
        self.0.iter().map(ExactSizeIterator::len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The indices in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = u32> + '_ {
        self.0.iter().flat_map(Clone::clone)
    }

    /// The ranges in order; none is empty.
    pub fn ranges(&self) -> &[Range<u32>] {
        &self.0
    }

    pub(crate) fn push_range(&mut self, range: Range<u32>) {
        self.0.push(range);
    }
}

impl FromIterator<u32> for StepRanges {
    fn from_iter<I: IntoIterator<Item = u32>>(indices: I) -> Self {
        let mut ranges = Self::default();
        indices.into_iter().for_each(|index| ranges.push(index));
        ranges
    }
}

/// Steps of a saga by name, in order; serialises as a list of names.
#[derive(Debug, Clone, PartialEq)]
pub struct StepList<'a> {
    outline: &'a Outline,
    ranges: &'a StepRanges,
}

impl<'a> StepList<'a> {
    pub(crate) fn new(outline: &'a Outline, ranges: &'a StepRanges) -> Self {
        Self { outline, ranges }
    }

    /// The names in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &'a str> + use<'a> {
        let outline = self.outline;
        self.ranges.iter().filter_map(move |index| outline.step(index)).map(|step| &*step.name)
    }

    /// How many steps there are.
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Whether the step named `name` is among them.
    pub fn contains(&self, name: &str) -> bool {
        self.outline.index_of(name).is_some_and(|index| self.ranges.contains(index))
    }

    /// The names as owned text.
    pub fn to_vec(&self) -> Vec<String> {
        self.iter().map(str::to_owned).collect()
    }
}

impl Serialize for StepList<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.len()))?;
        for name in self.iter() {
            list.serialize_element(name)?;
        }
        list.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_keep_the_order_of_completion_and_lose_what_is_removed() {
        let mut done: StepRanges = [0, 1, 2, 5, 3, 4].into_iter().collect();
        assert_eq!(done.ranges(), [0..3, 5..6, 3..5]);
        done.remove(1);
        done.remove(5);
        assert_eq!(done.iter().collect::<Vec<_>>(), [0, 2, 3, 4]);
        assert_eq!(done.iter().next_back(), Some(4));
        assert_eq!(done.len(), 4);
    }

    #[test]
    fn the_fingerprint_covers_names_order_needs_and_flags() {
        let of = |steps: Vec<OutlineStep>| Outline::new("order", "1", steps).unwrap().fingerprint();
        let base = vec![OutlineStep::new("a", vec![]), OutlineStep::new("b", vec![0])];
        let mut seen = vec![of(base.clone())];
        for change in [
            |s: &mut Vec<OutlineStep>| s[0].name = "c".into(),
            |s: &mut Vec<OutlineStep>| s[1].needs.clear(),
            |s: &mut Vec<OutlineStep>| s[1].pivot = true,
            |s: &mut Vec<OutlineStep>| s[0].has_compensation = true,
            |s: &mut Vec<OutlineStep>| drop(s.pop()),
        ] {
            let mut steps = base.clone();
            change(&mut steps);
            seen.push(of(steps));
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 6);
    }

    #[test]
    fn an_outline_is_read_back_from_its_bytes() {
        let outline = Outline::new("order", "1", vec![OutlineStep::new("a", vec![])]).unwrap();
        assert_eq!(Outline::from_bytes(outline.as_bytes().clone()).unwrap(), outline);
        assert!(Outline::from_bytes(Bytes::from_static(b"{}")).is_err());
    }

    #[test]
    fn a_step_cannot_need_a_later_one_or_share_a_name() {
        assert!(Outline::new("o", "1", vec![OutlineStep::new("a", vec![0])]).is_err());
        assert!(Outline::new("o", "1", vec![OutlineStep::new("a", vec![]), OutlineStep::new("a", vec![0])]).is_err());
    }
}
