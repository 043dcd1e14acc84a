//! A list that grows without moving.

/// Items of one page. Growing costs the same each time.
const PAGE: usize = 4096;

#[derive(Debug)]
pub(super) struct Pages<T> {
    pages: Vec<Vec<T>>,
}

impl<T> Default for Pages<T> {
    fn default() -> Self {
        Self { pages: Vec::new() }
    }
}

impl<T: Copy> Pages<T> {
    pub(super) fn len(&self) -> usize {
        match self.pages.split_last() {
            None => 0,
            Some((last, full)) => full.len() * PAGE + last.len(),
        }
    }

    pub(super) fn push(&mut self, item: T) {
        if self.pages.last().is_none_or(|page| page.len() == PAGE) {
            self.pages.push(Vec::with_capacity(PAGE));
        }
        self.pages.last_mut().expect("just pushed").push(item);
    }

    pub(super) fn at(&self, at: usize) -> T {
        self.pages[at / PAGE][at % PAGE]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = T> {
        self.pages.iter().flatten().copied()
    }
}
