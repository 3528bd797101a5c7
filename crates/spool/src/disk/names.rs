//! Numbers for texts that many envelopes share: domains and accounts.

use std::collections::HashMap;
use std::sync::Arc;

/// Texts in use, each with a number; a number is free again when nobody uses it.
#[derive(Debug, Default)]
pub(super) struct Names {
    ids: HashMap<Arc<str>, u32>,
    names: Vec<(Arc<str>, u32)>,
    free: Vec<u32>,
}

impl Names {
    /// The number of `name`, used once more.
    pub(super) fn hold(&mut self, name: &str) -> u32 {
        if let Some(&id) = self.ids.get(name) {
            self.names[id as usize].1 += 1;
            return id;
        }
        let name: Arc<str> = name.into();
        let id = match self.free.pop() {
            Some(id) => {
                self.names[id as usize] = (Arc::clone(&name), 1);
                id
            }
            None => {
                self.names.push((Arc::clone(&name), 1));
                (self.names.len() - 1) as u32
            }
        };
        self.ids.insert(name, id);
        id
    }

    /// Used once less.
    pub(super) fn release(&mut self, id: u32) {
        let (name, uses) = &mut self.names[id as usize];
        *uses -= 1;
        if *uses == 0 {
            self.ids.remove(name);
            self.free.push(id);
        }
    }

    /// The number of `name` if it is in use.
    pub(super) fn find(&self, name: &str) -> Option<u32> {
        self.ids.get(name).copied()
    }

    /// The text of a number in use.
    pub(super) fn name(&self, id: u32) -> &Arc<str> {
        &self.names[id as usize].0
    }

    /// One more than the largest number given so far.
    pub(super) fn bound(&self) -> usize {
        self.names.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_lives_as_long_as_its_uses() {
        let mut names = Names::default();
        let (a, b) = (names.hold("a"), names.hold("b"));
        assert_eq!(names.hold("a"), a);
        names.release(a);
        assert_eq!((names.find("a"), names.find("b")), (Some(a), Some(b)));
        names.release(a);
        assert_eq!(names.find("a"), None);
        assert_eq!(names.hold("c"), a, "the number is given again");
        assert_eq!(&**names.name(a), "c");
    }
}
